"""`doms simulate` on the deployment's own database: its history, its stock, its policies."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from config.samples import load_sample
from domain.orders import Order
from starter.cli import main
from starter.commands.preparation import load_sample_into
from store import inventory, order_intake, policies
from store.engine import migrate, open_engine, transaction

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
PERIOD = ("--history", "2026-03-03", "2026-03-06")


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A home whose database has the sample, counted on 2 March."""
    monkeypatch.setenv("DOMS_HOME", str(tmp_path))
    engine = open_engine(f"sqlite:///{tmp_path / 'doms.db'}")
    migrate(engine)
    with transaction(engine) as session:
        load_sample_into(session, load_sample(), BEGIN)
    yield engine
    engine.dispose()


def document(order_id: str, placed_at: datetime, sku: str, units: int) -> dict[str, Any]:
    address = {"country": "US", "region": "NV", "latitude": 39.5, "longitude": -119.8}
    return {
        "order_id": order_id,
        "source": "shop",
        "external_id": order_id,
        "currency": "USD",
        "placed_at": placed_at.isoformat(),
        "ship_groups": [{"id": "1", "address": address}],
        "lines": [{"line_id": "1", "sku": sku, "quantity": units, "unit_price": "300.00"}],
    }


def accept(engine: Engine, order_id: str, placed_at: datetime, sku: str, units: int) -> None:
    order = Order.model_validate(document(order_id, placed_at, sku, units))
    with transaction(engine) as session:
        order_intake.accept_order(
            session, order, content_hash=order_id, entered_by="shop", now=placed_at
        )


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["simulate", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def nodes(found: dict[str, Any], policy: int = 0) -> list[tuple[str, int]]:
    return [(x["node_id"], x["units"]) for x in found["policies"][policy]["nodes"]]


def test_a_history_begins_with_the_stock_of_then_and_what_came_since_comes_again(
    database: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    # given: monitors lie at three distribution centers (250, 300 and 200), consoles nowhere
    accept(database, "BEFORE", at(2, 13), "MONITOR-27", 1)
    accept(database, "FIRST", at(3), "MONITOR-27", 150)
    accept(database, "SECOND", at(4), "MONITOR-27", 150)
    accept(database, "CONSOLE", at(3), "CONSOLE-RETRO", 2)
    accept(database, "AFTER", at(6), "MONITOR-27", 1)
    with transaction(database) as session:
        inventory.adjust(
            session, "dc-reno", "MONITOR-27", "usable", -20, key="loss", now=at(2, 14), reason="x"
        )
        inventory.receive(session, "dc-newark", "CONSOLE-RETRO", 2, key="truck", now=at(5))
        version = policies.publish(
            session, "routing", {"name": "one", "max_shipments": 1, "relax": []}, BEGIN
        )

    # when
    found = answer(capsys, *PERIOD, "--policy", version, "--policy", "nearest")

    # then: 180 were left in Reno, which is near; Dallas is cheaper; the truck comes after both
    assert found["orders"] == 3
    assert found["first_order"] == "2026-03-03T12:00:00Z"
    assert found["policies"][0]["label"] == version
    assert nodes(found) == [("dc-dallas", 300), ("dc-newark", 2)]
    assert nodes(found, 1) == [("dc-reno", 180), ("dc-dallas", 120), ("dc-newark", 2)]
    measures = found["policies"][0]["measures"]
    assert measures["unit_fill_rate"]["value"] == round(300 / 302, 6)
    assert measures["served_rate"]["value"] == 1.0
    assert "the ledger says" in found["notes"][0]


def test_a_history_may_be_cut_short_and_may_have_stock_of_its_own(
    database: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    accept(database, "FIRST", at(3), "MONITOR-27", 1)
    accept(database, "SECOND", at(4), "MONITOR-27", 1)
    stock = tmp_path / "stock.csv"
    stock.write_text("node_id,sku,quantity\ndc-newark,MONITOR-27,9\n")

    found = answer(capsys, *PERIOD, "--limit", 1, "--stock", stock, "--policy", "nearest")

    assert found["orders"] == 1
    assert nodes(found) == [("dc-newark", 1)]


def test_before_the_first_ledger_row_there_is_no_stock_to_begin_with(
    database: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(database, "EARLY", datetime(2026, 1, 5, tzinfo=UTC), "MONITOR-27", 1)

    assert main(["simulate", "--history", "2026-01-01", "2026-02-01", "--policy", "nearest"]) == 1

    assert "give --stock FILE" in capsys.readouterr().err


def test_orders_of_a_file_find_the_stock_and_supply_of_now(
    database: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    due = datetime.now(UTC).replace(year=datetime.now(UTC).year + 1, microsecond=0)
    with transaction(database) as session:
        inventory.expect_supply(
            session,
            [
                inventory.Expected(
                    supply_id="PO-1", node_id="dc-reno", sku="CONSOLE-RETRO", quantity=3, due=due
                )
            ],
        )
        inventory.adjust(
            session, "dc-reno", "MONITOR-27", "usable", -199, key="loss", now=at(2), reason="x"
        )
    orders = tmp_path / "orders.json"
    orders.write_text(
        json.dumps(
            [
                document("W-1", at(9), "MONITOR-27", 1),
                document("W-2", at(10), "MONITOR-27", 1),
                document("W-3", at(11), "CONSOLE-RETRO", 2),
                document("W-4", due, "MUG-BLUE", 1),
            ]
        )
    )

    found = answer(capsys, "--orders", orders, "--policy", "nearest")

    assert nodes(found) == [("dc-reno", 4), ("dc-dallas", 1)]
    measures = found["policies"][0]["measures"]
    assert measures["unit_fill_rate"]["value"] == 0.6
    assert measures["served_rate"]["value"] == 1.0
    assert found["notes"] == ["stock, inbound supply and used capacity are those of now"]


def test_units_kept_for_a_channel_go_to_its_orders_alone(
    database: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with transaction(database) as session:
        for node_id in ("dc-dallas", "dc-newark", "dc-reno"):
            inventory.keep_back(
                session,
                node_id,
                "MONITOR-27",
                safety_stock=0,
                protected={"shop": 1_000},
                key=node_id,
                now=at(2),
            )
    orders = tmp_path / "orders.json"
    documents = [document("W-1", at(9), "MONITOR-27", 1), document("W-2", at(9), "MONITOR-27", 1)]
    orders.write_text(json.dumps([documents[0], {**documents[1], "channel": "shop"}]))
    decisions = tmp_path / "decisions.ndjson"

    found = answer(capsys, "--orders", orders, "--policy", "nearest", "--decisions", decisions)

    assert nodes(found) == [("dc-reno", 1)]
    served = {x["order_id"]: len(x["nodes"]) for x in map(json.loads, decisions.open())}
    assert served == {"W-1": 0, "W-2": 1}


def test_a_version_that_was_never_published_is_refused(
    database: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *PERIOD, "--policy", "routing-000000000000"]) == 1

    assert "publish it first" in capsys.readouterr().err
