"""`doms simulate --policy`: files of orders on the sample network, and what it refuses."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from config.samples import SAMPLE
from domain.errors import FinalError
from domain.routing.facts import compile_network
from domain.routing_simulation import SimulatedOrder
from domain.simulated_world import Start
from domain.simulation_measures import MEASURES, Estimate
from starter.cli import main
from starter.simulation import processes
from starter.simulation.named_policies import NamedPolicy
from starter.simulation.processes import run_policies
from starter.simulation.shown import estimate_text
from tests.unit.domain.builders import MONDAY, line, node, request

OLIST = Path(__file__).parents[4] / "shared/data/olist"
needs_olist = pytest.mark.skipif(not OLIST.is_dir(), reason="the real Olist data is not here")
SAMPLE_POLICY = str(SAMPLE / "routing.yaml")
NEWARK = {"region": "NJ", "latitude": 40.7, "longitude": -74.2}
RENO = {"region": "NV", "latitude": 39.5, "longitude": -119.8}


def an_order(order_id: str, lines: Sequence[tuple[str, int]], **changes: Any) -> dict[str, Any]:
    address = {"country": "US", **changes.pop("to", NEWARK)}
    return {
        "order_id": order_id,
        "source": "shop",
        "external_id": order_id,
        "currency": "USD",
        "placed_at": "2026-03-02T15:00:00Z",
        "ship_groups": [{"id": "1", "address": address, **changes.pop("group", {})}],
        "lines": [
            {"line_id": str(n), "sku": sku, "quantity": units, "unit_price": "20.00"}
            for n, (sku, units) in enumerate(lines, start=1)
        ],
        **changes,
    }


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Four orders; the third one's second line is nowhere, the second is of a case of 12."""
    documents = [
        an_order("W-2", [("TEE-BLACK-M", 1)], placed_at="2026-03-02T16:00:00Z", to=RENO),
        an_order("W-1", [("SOCKS-3PACK", 1), ("MUG-BLUE", 2)]),
        an_order("W-3", [("CAP-NAVY", 1), ("CONSOLE-RETRO", 1)], placed_at="2026-03-03T16:00:00Z"),
        an_order(
            "W-4",
            [("MONITOR-27", 1)],
            placed_at="2026-03-04T16:00:00Z",
            group={"deliver_by": "2026-03-20T00:00:00Z"},
        ),
    ]
    documents[1]["lines"][0]["ordered_uom"] = "CS"
    path = tmp_path / "orders.ndjson"
    path.write_text("".join(json.dumps(x) + "\n" for x in documents))
    return path


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["simulate", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def value(policy: dict[str, Any], key: str) -> Any:
    return policy["measures"][key]["value"]


def test_each_policy_routes_every_order_and_every_measure_is_told(
    capsys: pytest.CaptureFixture[str], orders: Path, tmp_path: Path
) -> None:
    plot, decisions = tmp_path / "out.png", tmp_path / "decisions.ndjson"
    files = ("--plot", plot, "--decisions", decisions)

    found = answer(
        capsys,
        "--orders",
        orders,
        "--sample",
        "--policy",
        "nearest",
        "--policy",
        SAMPLE_POLICY,
        *files,
    )

    nearest, sample = found["policies"]
    assert (found["orders"], found["nodes"], found["currency"]) == (4, 13, "USD")
    assert (found["first_order"], found["last_order"]) == (
        "2026-03-02T15:00:00Z",
        "2026-03-04T16:00:00Z",
    )
    assert found["resampled"] == "orders"
    assert [x["label"] for x in found["policies"]] == ["nearest", "routing"]
    assert value(sample, "order_fill_rate") == 0.75
    assert value(sample, "unit_fill_rate") == round(17 / 18, 6)
    assert value(sample, "backorder_units") == 0.25
    assert value(sample, "on_time_rate") == 1.0
    assert sample["missing"] == {"no stock": 1}
    assert nearest["difference_from_first"] is None
    difference = sample["difference_from_first"]["cost_per_order"]
    assert difference["value"] == pytest.approx(
        value(sample, "cost_per_order") - value(nearest, "cost_per_order"), abs=2e-6
    )
    assert difference["interval_95"][0] <= difference["value"] <= difference["interval_95"][1]
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(x) for x in decisions.read_text().splitlines()]
    assert [(x["policy"], x["order_id"]) for x in rows] == [
        (policy, order)
        for policy in ("nearest", "routing")
        for order in ("W-1", "W-2", "W-3", "W-4")
    ]
    assert rows[4]["nodes"][0]["units"] == {"1": 12, "2": 2}
    assert rows[6]["missing"] == [
        {"line_id": "2", "sku": "CONSOLE-RETRO", "quantity": 1, "reason": "no stock"}
    ]
    shipments = sum(x["shipments"] for x in sample["nodes"])
    assert shipments == sum(len(x["nodes"]) for x in rows[4:])
    assert list(tmp_path.glob("*.part")) == []


def test_a_policy_differs_from_itself_by_nothing_and_the_answer_repeats(
    capsys: pytest.CaptureFixture[str], orders: Path
) -> None:
    asked = ("--orders", orders, "--sample", "--policy", SAMPLE_POLICY, "--policy", SAMPLE_POLICY)

    found, again = answer(capsys, *asked), answer(capsys, *asked)

    assert [x["label"] for x in found["policies"]] == ["routing", "routing (2)"]
    differences = found["policies"][1]["difference_from_first"].values()
    assert all(x == {"value": 0.0, "interval_95": [0.0, 0.0]} for x in differences)
    assert {**found, "seconds": 0} == {**again, "seconds": 0}


def test_the_tables_show_values_differences_and_nodes(
    capsys: pytest.CaptureFixture[str], orders: Path
) -> None:
    named = ("--policy", "nearest", "--policy", "cheapest-unsplit")

    assert main(["simulate", "--orders", str(orders), "--sample", *named]) == 0

    shown = capsys.readouterr().out
    assert "4 orders, money in USD (95 % interval)" in shown
    assert "Difference from nearest, order by order (95 % interval)" in shown
    assert "Shipments by node (use of its busiest day)" in shown
    assert "units missing at first under nearest: 1 no node has it" in shown


@pytest.mark.parametrize(
    ("estimate", "signed", "shown"),
    [
        (Estimate(None), False, "-"),
        (Estimate(1.0), False, "100.00%"),
        (Estimate(1.0, 1.0, 1.0), False, "100.00%"),
        (Estimate(0.5, 0.25, 0.75), False, "50.00% (25.00% to 75.00%)"),
        (Estimate(-0.5, -0.75, 0.25), True, "-50.00% (-75.00% to +25.00%)"),
        (Estimate(0.0, -0.00001, 0.00001), True, "0.00%"),
    ],
)
def test_an_interval_is_shown_where_it_says_more_than_the_value(
    estimate: Estimate, signed: bool, shown: str
) -> None:
    share = next(x for x in MEASURES if x.key == "order_fill_rate")

    assert estimate_text(share, estimate, signed=signed) == shown


@pytest.mark.parametrize(
    ("key", "signed", "shown"),
    [
        ("cost_per_order", False, "1,234.57"),
        ("cost_per_order", True, "+1,234.57"),
        ("distance_km", False, "1,235"),
        ("promise_days", False, "1,234.568"),
    ],
)
def test_amounts_have_cents_and_days_three_places(key: str, signed: bool, shown: str) -> None:
    measure = next(x for x in MEASURES if x.key == key)

    assert estimate_text(measure, Estimate(1234.5678), signed=signed) == shown


def test_stock_may_come_from_a_file(
    capsys: pytest.CaptureFixture[str], orders: Path, tmp_path: Path
) -> None:
    stock = tmp_path / "stock.csv"
    stock.write_text(
        "node_id,sku,quantity,condition\n"
        "dc-reno,TEE-BLACK-M,1,usable\n"
        "dc-reno,SOCKS-3PACK,11,usable\n"
        "dc-reno,MUG-BLUE,5,damaged\n"
        "dc-atlantis,MUG-BLUE,5,usable\n"
    )

    found = answer(
        capsys, "--orders", orders, "--sample", "--stock", stock, "--policy", "cheapest-unsplit"
    )

    only = found["policies"][0]
    assert value(only, "unit_fill_rate") == round(12 / 18, 6)
    assert [(x["node_id"], x["units"]) for x in only["nodes"]] == [("dc-reno", 12)]
    assert found["notes"] == ["stock of 1 nodes that the network lacks is left out: dc-atlantis"]


def test_an_order_that_cannot_be_read_is_left_out_and_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "orders.ndjson"
    documents = [
        an_order("W-1", [("MUG-BLUE", 1)]),
        an_order("W-2", [("UNICORN", 1)]),
        an_order("W-1", [("MUG-BLUE", 2)]),
        an_order("W-3", [("MUG-BLUE", 1)], currency="XTS"),
    ]
    path.write_text("".join(json.dumps(x) + "\n" for x in documents) + "{broken\n")

    found = answer(capsys, "--orders", path, "--sample", "--policy", "nearest")

    assert found["orders"] == 1
    assert [x["where"] for x in found["left_out"]] == ["line 2", "line 3", "order 'W-3'", "line 5"]
    assert found["left_out"][0]["why"] == "lines.0.sku: no product 'UNICORN'"
    assert found["left_out"][1]["why"] == "order 'W-1' stands on an earlier line"
    assert "no exchange rate from XTS to USD" in found["left_out"][2]["why"]
    assert "broken JSON" in found["left_out"][3]["why"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--orders", "ORDERS", "--sample", "--policy", "routing-0123"],
            "no policy 'routing-0123'",
        ),
        (["--orders", "ORDERS", "--sample", "--policy", "no/such.yaml"], "no such file"),
        (["--history", "2026-01-01", "2026-02-01", "--sample", "--policy", "nearest"], "--history"),
        (["--orders", "EMPTY", "--sample", "--policy", "nearest"], "there is no order to simulate"),
        (["--orders", "ORDERS", "--sample", "--policy", "nearest", "--stock", "BAD"], "line 2"),
        (
            ["--orders", "ORDERS", "--sample", "--policy", "nearest", "--decisions", "no/such/x"],
            "cannot be written",
        ),
        (
            ["--orders", "ORDERS", "--sample", "--policy", "nearest", "--plot", "no/such/x.png"],
            "cannot be written",
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
    orders: Path,
    tmp_path: Path,
    arguments: list[str],
    told: str,
) -> None:
    (tmp_path / "empty.ndjson").write_text("")
    (tmp_path / "bad.csv").write_text("node_id,sku,quantity\ndc-reno,MUG-BLUE,many\n")
    files = {
        "ORDERS": str(orders),
        "EMPTY": str(tmp_path / "empty.ndjson"),
        "BAD": str(tmp_path / "bad.csv"),
    }

    assert main(["simulate", *(files.get(x, x) for x in arguments)]) == 1

    error = capsys.readouterr().err.splitlines()[-1]
    assert told in error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--policy", "nearest"], "say which orders"),
        (["--policy", "nearest", "--safety-stock"], "not both"),
        (["--policy", "nearest", "--history", "2026-02-01", "2026-02-01"], "FROM is not before TO"),
        (["--policy", "nearest", "--history", "yesterday", "2026-02-01"], "--history"),
    ],
)
def test_wrong_use_says_what_to_say(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["simulate", *arguments]) == 2
    assert told in capsys.readouterr().err


# --- side by side


def a_start() -> tuple[Start, list[SimulatedOrder]]:
    network = compile_network((node("N1"),), ())
    return Start(network, {}, {}), [SimulatedOrder(request(line("1", "A"), now=MONDAY), (0,))] * 3


@pytest.mark.parametrize("cores", [1, 2])
def test_policies_run_alike_in_one_process_and_side_by_side(cores: int) -> None:
    start, orders = a_start()
    told: list[tuple[int, int]] = []

    outcomes = run_policies(
        start,
        orders,
        [NamedPolicy(x, None) for x in ("nearest", "cheapest-unsplit", "nearest (2)")],
        MONDAY,
        None,
        lambda number, done: told.append((number, done)),
        cores=cores,
    )

    assert [x.columns.shape[0] for x in outcomes] == [3, 3, 3]
    assert outcomes[0].reasons == outcomes[2].reasons == {"no node has it": 3}
    assert outcomes[1].reasons == {"no stock": 3}
    assert sorted(told) == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("cores", [1, 2])
def test_a_run_that_fails_is_told_and_leaves_no_parts_behind(
    cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_named: NamedPolicy) -> None:
        raise FinalError("the sky falls")

    monkeypatch.setattr(processes, "planner_of", fail)
    start, orders = a_start()
    policies = [NamedPolicy("nearest", None), NamedPolicy("nearest (2)", None)]

    with pytest.raises(FinalError, match="the sky falls"):
        run_policies(
            start,
            orders,
            policies,
            MONDAY,
            tmp_path / "out",
            lambda _number, _done: None,
            cores=cores,
        )

    assert list(tmp_path.iterdir()) == []


# --- real orders


@needs_olist
@pytest.mark.slow
def test_real_orders_are_served_by_their_sellers_whatever_the_policy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = ("--policy", "nearest", "--policy", "cheapest-unsplit")

    found = answer(capsys, "--orders", OLIST, "--limit", "300", "--sample", *named)

    assert found["orders"] == 300
    assert found["left_out"] == []
    assert found["resampled"] == "days"
    for policy in found["policies"]:
        assert value(policy, "order_fill_rate") == 1.0
        assert all(x["node_id"].startswith("seller-") for x in policy["nodes"])
