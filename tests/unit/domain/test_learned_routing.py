"""Routing under policies whose delivery dates are learned."""

import pytest

from domain.network import Place
from domain.orders import Method
from domain.routing.decision import LearnedTransit, Snapshot
from domain.routing.facts import facts_of, snapshot_of
from domain.routing.solve import decide, decide_on
from tests.unit.domain.builders import (
    EXPRESS,
    at,
    group,
    line,
    node,
    plan_of,
    policy,
    request,
    service,
    snapshot,
)
from tests.unit.domain.uncompiled import run_uncompiled

WEST = Place(country="US", region="CA")
LEARNED = policy(delivery_dates="learned")


def transit(
    *days: int, node_id: str = "", origin: str = "", destination: str = ""
) -> LearnedTransit:
    return LearnedTransit(
        node_id=node_id,
        service_id="ground",
        origin=origin,
        destination=destination,
        days=days if len(days) == 7 else days * 7,
    )


TRANSITS = (
    transit(9),
    transit(7, origin="US-CA", destination="US-NY"),
    transit(5, 6, 6, 6, 6, 6, 6, node_id="A", origin="US-CA", destination="US-NY"),
)


def facts(node_id: str) -> Snapshot:
    there = node(node_id, place=WEST, services=("ground", "air"), daily_units=1)
    return snapshot((there,), {"S": {node_id: 2}}, services=(service(), EXPRESS), transits=TRANSITS)


@pytest.fixture(autouse=True, params=["compiled", "not compiled"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "not compiled":
        run_uncompiled(monkeypatch)


@pytest.mark.parametrize(
    ("node_id", "region", "day"), [("A", "NY", 7), ("B", "NY", 9), ("A", "WA", 11)]
)
def test_the_narrowest_lane_learned_says_when_a_parcel_arrives(
    node_id: str, region: str, day: int
) -> None:
    there = group(destination=Place(country="US", region=region))
    asked = request(line("1", "S"), groups=(there,))

    learned = plan_of(decide(asked, facts(node_id), LEARNED))
    configured = plan_of(decide(asked, facts(node_id), policy()))

    assert learned.ship_at == configured.ship_at == at(17)
    assert learned.deliver_at == at(20, day=day)
    assert configured.deliver_at != learned.deliver_at


def test_each_node_goes_by_its_own_lane() -> None:
    moved = transit(1, node_id="C", origin="US-TX", destination="US-NY")
    gone = transit(1, node_id="D", origin="US-CA", destination="US-NY")
    nodes = [node(x, place=WEST, services=("ground", "air")) for x in "AC"]
    nodes.insert(1, node("B", place=Place(country="US", region="WA"), services=("air", "ground")))
    there = snapshot(
        tuple(nodes),
        {"S": {"A": 2, "B": 2, "C": 2}},
        services=(service(), EXPRESS),
        transits=(moved, gone, *TRANSITS),
    )
    to = group(destination=Place(country="US", region="NY"))

    def arrives(node_id: str) -> object:
        asked = request(line("1", "S"), groups=(to,), forced_nodes=(node_id,))
        return plan_of(decide(asked, there, LEARNED)).deliver_at

    assert [arrives(x) for x in "ABC"] == [at(20, day=7), at(20, day=11), at(20, day=9)]


def test_a_later_days_collection_has_its_own_days() -> None:
    there = group(destination=Place(country="US", region="NY"))
    asked = request(line("1", "S"), line("2", "S", ship_group="2"), groups=(there, group("2")))

    first, second = plan_of(decide(asked, facts("A"), LEARNED)).shipments

    assert (first.ship_at, first.deliver_at) == (at(17), at(20, day=7))
    assert second.ship_at == at(17, day=3)


def test_a_service_nothing_was_learned_of_goes_by_what_is_configured() -> None:
    known = facts("A").model_copy(
        update={"transits": tuple(x.model_copy(update={"service_id": "x"}) for x in TRANSITS)}
    )
    asked = request(line("1", "S"))

    assert plan_of(decide(asked, known, LEARNED)) == plan_of(decide(asked, known, policy()))


def test_a_decision_on_learned_dates_replays_from_its_record() -> None:
    there = group(method=Method.SHIP, destination=Place(country="US", region="NY"))
    asked = request(line("1", "S"), groups=(there,))
    known = facts_of(facts("A"))

    first = decide_on(asked, known, LEARNED)
    again = decide(asked, snapshot_of(known, asked), LEARNED)

    assert again.model_dump_json() == first.model_dump_json()
    other = facts("A").model_copy(update={"transits": ()})
    assert decide(asked, other, LEARNED).snapshot_id != first.snapshot_id


def test_a_network_says_where_its_nodes_are() -> None:
    assert facts_of(facts("A")).network.node_places == {"A": WEST}
