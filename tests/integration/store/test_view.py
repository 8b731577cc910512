"""The availability view equals the database, after whatever was committed in whatever order."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from domain.catalogue import KitComponent, Product, SupplyMode
from domain.errors import DomsError, UnknownReferenceError
from domain.network import DistributionGroup
from domain.routing.facts import KernelFacts, content_id, facts_of
from domain.routing.policy import RoutingPolicy
from domain.stock_rules import StockRules
from domain.supply import SupplyType
from store import (
    exclusions,
    inventory,
    ledger,
    network,
    policies,
    promisable,
    protection,
    reservations,
    stock_rules,
    supply,
)
from store import following as following_module
from store.changes import delete_before, place_of
from store.engine import reading, transaction
from store.following import Following
from store.ledger import Cause
from store.snapshot import build_facts, build_snapshot
from store.view import AvailabilityView
from store.view_check import Checker
from store.view_updates import one_moment, read_view
from tests.conftest import empty
from tests.integration.store.builders import (
    DATE,
    NODES,
    NOW,
    PRODUCTS,
    a_network,
    a_node,
    a_world,
    at,
    own_protection,
    positions_of,
)

SKUS = ("X", "Y", "ENDLESS", "KIT")
KIT = Product(sku="KIT", components=(KitComponent(sku="X", quantity=2),))
CHANNELS = ("web", "shop")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def following(engine: Engine, clock: Clock) -> Following:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 7, ("A", "Y"): 3})
    return Following(engine, clock)


def plain(view: AvailabilityView, now: datetime = NOW) -> dict[str, Any]:
    """All that a view says, by names and numbers."""
    ids = [node.node_id for node in view.network.nodes]
    sold = {
        (channel, sku): dict(zip(map(ids.__getitem__, nodes), units.tolist(), strict=True))
        for channel in CHANNELS
        for sku in SKUS
        for nodes, units in [view.stock_of(sku, channel, now)]
        if len(nodes)
    }
    capacity = {
        (ids[node], day): (units, orders)
        for day, left in view.capacity.items()
        for node, units, orders in zip(*(part.tolist() for part in left), strict=True)
    }
    return {
        "sold": sold,
        "capacity": capacity,
        "inbound": [
            (channel, sku, row.node_id, row.quantity, row.due)
            for channel in CHANNELS
            for sku in SKUS
            for row in sorted(view.inbound_of(sku, channel, now), key=lambda x: (x.node_id, x.due))
        ],
        "exclusions": sorted(view.exclusions(SKUS, now), key=lambda x: (x.node_id, x.sku or "")),
        "products": {sku: view.product(sku) for sku in (*SKUS, "NEW")},
        "version": view.availability_version,
        "network": (view.network.version, ids),
    }


def as_the_tables_say(engine: Engine, now: datetime = NOW) -> dict[str, Any]:
    """The same, worked out row by row from the tables: slow and plain to see."""
    with reading(engine) as session:
        loaded = network.load_network(session)
        nodes = {node.node_id: node for node in loaded.nodes}
        return {
            "sold": _sold(session, now),
            "capacity": {
                (row.node_id, row.work_date): (
                    nodes[row.node_id].daily_units - row.units_used,
                    nodes[row.node_id].daily_orders - row.orders_used,
                )
                for row in session.execute(text("SELECT * FROM capacity"))
            },
            "inbound": list(_offered(session, now)),
            "exclusions": sorted(
                reservations.cool_offs(session, SKUS, now), key=lambda x: (x.node_id, x.sku or "")
            ),
            "products": {sku: network.products(session, [sku]).get(sku) for sku in (*SKUS, "NEW")},
            "version": str(session.execute(text("SELECT max(id) FROM ledger")).scalar() or 0),
            "network": (network.network_version(session), sorted(nodes)),
        }


def _offered(session: Session, now: datetime) -> Iterator[tuple[str, str, str, int, datetime]]:
    """What each arrival adds to what can be promised, by the answer people get (ATP by date)."""
    for channel in CHANNELS:
        for sku in SKUS:
            try:
                found = promisable.promise_of(session, sku, now, channel).atp
            except UnknownReferenceError:
                continue
            for node in found.nodes:
                # A node that is closed until then promises what it has, and what came, from then.
                start = node.from_time
                known = max(0, node.now)
                for due in sorted({x.promisable_at for x in node.arrivals if x.promisable_at}):
                    assert start is not None
                    there = found.at_node(node.node_id, max(due, start))
                    if there > known:
                        yield channel, sku, node.node_id, there - known, due
                    known = there


def _sold(session: Session, now: datetime) -> dict[tuple[str, str], dict[str, int]]:
    products = network.products(session, SKUS)
    blocked = {(x.node_id, x.sku) for x in exclusions.all_blocks(session, now)}
    sold: dict[tuple[str, str], dict[str, int]] = {}
    for channel in CHANNELS:
        own = own_protection(session, channel)
        for sku in SKUS:
            endless = sku in products and products[sku].supply_mode is not SupplyMode.STOCKED
            for place in positions_of(session, sku):
                units = place.sellable + own.get(sku, {}).get(place.node_id, 0)
                is_out = {(place.node_id, None), (place.node_id, sku)} & blocked
                if (units > 0 or endless) and not is_out:
                    sold.setdefault((channel, sku), {})[place.node_id] = max(0, units)
    return sold


def test_a_view_of_everything_says_what_the_tables_say(
    engine: Engine, following: Following
) -> None:
    with transaction(engine) as session:
        network.import_network(session, a_network(), [KIT], NOW)
        ledger.open_positions(session, [("B", "ENDLESS")])
        _use(session, "B", DATE, 2)
        reservations.cool_off(session, "B", "Y", at(60), "refused")

    view = following.view()

    said = plain(view)
    assert said == as_the_tables_say(engine)
    assert said["sold"]["web", "X"] == {"A": 5, "B": 7}
    assert said["sold"]["web", "ENDLESS"] == {"B": 0}
    assert said["capacity"] == {("B", DATE): (998, 99)}


def test_facts_of_a_kit_hold_its_parts_and_equal_those_read_for_one_order(
    engine: Engine, following: Following
) -> None:
    with transaction(engine) as session:
        network.import_network(session, a_network(), [KIT], NOW)
        _use(session, "B", DATE, 2)
    facts = following.view().facts(["KIT"], "web", NOW)
    with reading(engine) as session:
        read = build_facts(session, ["KIT"], NOW, "web")
        recorded = build_snapshot(session, ["KIT"], NOW, "web")

    assert sorted(facts.stock) == ["KIT", "X"]
    assert content_id(facts) == content_id(read) == content_id(facts_of(recorded))
    assert dict(recorded.availability["X"]) == {"A": 5, "B": 7}


def test_yesterdays_capacity_is_no_fact_of_today(engine: Engine, following: Following) -> None:
    with transaction(engine) as session:
        _use(session, "B", "2026-03-01", 2)
        _use(session, "B", "2026-03-02", 3)
    view = following.view()
    later = NOW + timedelta(days=1, hours=12)
    assert set(view.facts(["X"], "web", NOW).capacity) == {"2026-03-01", "2026-03-02"}
    assert set(view.facts(["X"], "web", later).capacity) == set()


def test_protected_units_are_there_for_their_channel_only(
    engine: Engine, following: Following
) -> None:
    following.view()
    with transaction(engine) as session:
        _protect(session, "A", "X", "web", 4, 1)
        _protect(session, "B", "X", "shop", 7, 2)
    view = following.view()
    assert plain(view) == as_the_tables_say(engine)
    assert plain(view)["sold"]["web", "X"] == {"A": 5}
    assert plain(view)["sold"]["shop", "X"] == {"A": 1, "B": 7}

    # The other channel sells what is open: what is left is the web's own.
    with transaction(engine) as session:
        cause = Cause("k", NOW, "adjust")
        ledger.apply(session, {("A", "X"): {"usable": -2}}, cause)
    assert plain(following.view())["sold"]["web", "X"] == {"A": 3}
    assert plain(following.view())["sold"]["shop", "X"] == {"B": 7}


def test_what_comes_makes_up_for_what_is_owed_before_it_is_offered(
    engine: Engine, following: Following
) -> None:
    def offered(channel: str = "web") -> list[tuple[str, int, datetime]]:
        rows = following.view().inbound_of("Y", channel, NOW)
        return [(x.node_id, x.quantity, x.due) for x in rows]

    # given: ten due at A tomorrow, five at B in two days
    with transaction(engine) as session:
        rows = [
            supply.Expected(supply_id=node, node_id=node, sku="Y", quantity=units, due=at(due))
            for node, units, due in (("A", 10, 1440), ("B", 5, 2880))
        ]
        supply.expect_supply(session, rows)
    assert offered() == [("A", 10, at(1440)), ("B", 5, at(2880))]
    # when: A owes four by its safety stock
    with transaction(engine) as session:
        inventory.keep_back(session, "A", "Y", safety_stock=7, protected={}, key="k", now=NOW)
    assert offered() == [("A", 6, at(1440)), ("B", 5, at(2880))]
    # when: an order waits for eight, wherever they come
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-1", [("1", "Y", 8)], demand_class="", promise_at=None, key="b", now=NOW
        )
    assert offered() == [("B", 3, at(2880))]
    # when: B wants to keep two for the shop
    with transaction(engine) as session:
        inventory.keep_back(
            session, "B", "Y", safety_stock=0, protected={"shop": 2}, key="p", now=NOW
        )
    assert (offered(), offered("shop")) == ([("B", 1, at(2880))], [("B", 3, at(2880))])
    # when: only what is under way may be promised, and when all is overdue
    with transaction(engine) as session:
        stock_rules.put_rules(session, RULES[1], NOW)
    assert offered() == []
    with transaction(engine) as session:
        stock_rules.put_rules(session, RULES[0], NOW)
    assert offered("shop") == [("B", 3, at(2880))]
    assert following.view().inbound_of("Y", "shop", at(2880)) == ()


def test_a_closed_node_sells_nothing_until_it_opens(engine: Engine, following: Following) -> None:
    with transaction(engine) as session:
        exclusions.exclude(session, "A", None, until=at(60), reason="inventory day")
        exclusions.exclude(session, "B", "X", until=None, reason="recall")
        _expect(session, "B", "X", 4, at(90))
    view = following.view()
    assert plain(view)["sold"] == {}
    assert view.facts(["X"], "web", NOW).inbound == {}
    assert plain(view, at(60))["sold"]["web", "Y"] == {"A": 3}
    with transaction(engine) as session:
        exclusions.lift(session, "B", "X", NOW)
    assert plain(following.view())["sold"]["web", "X"] == {"B": 7}
    assert len(following.view().facts(["X"], "web", NOW).inbound["X"]) == 1


def test_a_new_node_and_changed_limits_reach_the_view(engine: Engine, following: Following) -> None:
    with transaction(engine) as session:
        _use(session, "B", DATE, 2)
    following.view()
    with transaction(engine) as session:
        network.import_network(session, a_network(a_node("B", daily_units=50)), [], NOW)
    assert plain(following.view())["capacity"] == {("B", DATE): (48, 99)}
    with transaction(engine) as session:
        network.import_network(session, a_network(a_node("AA")), [], NOW)
        inventory.receive(session, "AA", "X", 1, key="k", now=NOW)
    assert plain(following.view()) == as_the_tables_say(engine)
    assert plain(following.view())["sold"]["web", "X"] == {"A": 5, "AA": 1, "B": 7}


def test_a_product_that_needs_no_stock_any_more_is_carried_by_empty_nodes(
    engine: Engine, following: Following
) -> None:
    with transaction(engine) as session:
        ledger.open_positions(session, [("B", "Y")])
    assert plain(following.view())["sold"]["web", "Y"] == {"A": 3}
    made = Product(sku="Y", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=3)
    with transaction(engine) as session:
        network.import_network(session, a_network(), [made], NOW)
    assert plain(following.view())["sold"]["web", "Y"] == {"A": 3, "B": 0}
    assert plain(following.view()) == as_the_tables_say(engine)


def test_a_node_that_begins_to_carry_an_endless_product_offers_it(
    engine: Engine, following: Following
) -> None:
    following.view()
    with transaction(engine) as session:
        ledger.open_positions(session, [("B", "ENDLESS")])
    assert plain(following.view())["sold"]["web", "ENDLESS"] == {"B": 0}
    assert plain(following.view()) == as_the_tables_say(engine)


def test_an_older_view_stays_as_it_was(engine: Engine, following: Following) -> None:
    old = following.view()
    before = plain(old)
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 5, key="k", now=NOW)
    assert plain(following.view())["sold"]["web", "X"] == {"A": 10, "B": 7}
    assert plain(old) == before


def test_too_much_news_is_read_whole(
    engine: Engine, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    following.view()
    monkeypatch.setattr("store.changes.MOST_CHANGES", 1)
    with transaction(engine) as session:
        for node_id in ("A", "B"):
            inventory.receive(session, node_id, "Y", 5, key=node_id, now=NOW)
    assert plain(following.view()) == as_the_tables_say(engine)


def test_who_missed_changes_that_were_deleted_reads_everything_again(
    engine: Engine, following: Following
) -> None:
    following.view()
    with transaction(engine) as session:
        inventory.receive(session, "A", "Y", 5, key="k", now=NOW)
    with reading(engine) as session:
        place = place_of(session)
    delete_before(engine, place)
    assert plain(following.view()) == as_the_tables_say(engine)


def test_a_difference_is_found_named_and_mended(engine: Engine, following: Following) -> None:
    """Someone changes stock without the feed: the check finds it within one round."""
    following.view()
    with transaction(engine) as session:
        _use(session, "B", DATE, 2)
        session.execute(text("UPDATE positions SET usable = usable + 1 WHERE node_id = 'B'"))
        session.execute(text("UPDATE products SET document = '{\"sku\": \"Y\"}' WHERE sku = 'Y'"))
        _protect(session, "A", "X", "web", 1, 1)
        exclusions.exclude(session, "A", "Y", until=None, reason="recall")
        reservations.cool_off(session, "A", None, at(60), "slow")
        session.execute(text("DELETE FROM changes"))
        where = place_of(session)
    blind = following._view.at(where, "0")
    names: set[str] = set()
    with one_moment(engine) as connection:
        checker = Checker(skus_at_once=2)
        for _ in range(3):
            found = checker.next_piece(connection, blind, NOW)
            names |= set(found.names)
            blind = found.mended
        again = checker.next_piece(connection, blind, NOW)
    assert names == {"stock X", "products", "own", "capacity", "closed", "cool_offs"}
    assert again.names == ()
    assert {**plain(blind), "version": ""} == {**as_the_tables_say(engine), "version": ""}


def test_the_check_of_a_right_view_finds_nothing(engine: Engine, following: Following) -> None:
    following.view()
    assert [following.check() for _ in range(4)] == [0, 0, 0, 0]
    assert following.differences == 0


def test_a_refusal_masks_until_the_view_has_passed_it(engine: Engine, following: Following) -> None:
    following.view()
    with transaction(engine) as session:
        _hold(session, "A", "X", 5)
    following.refuse([("A", "X")])
    masked = following.exclusions(["X"], NOW)
    others = following.exclusions(["Y"], NOW)
    following.view()
    after = following.exclusions(["X"], NOW)

    assert [(x.node_id, x.sku) for x in masked] == [("A", "X")]
    assert others == ()
    assert after == ()


def test_the_policy_in_force_is_remembered_until_another_is_activated(
    engine: Engine, following: Following
) -> None:
    scope = ("acme", "west", "b2c", "web")
    _activate(engine, "1.00")
    following.start()
    try:
        assert following.known_policy(scope) is None
        first = following.policy(scope)
        assert following.known_policy(scope) == first
        _activate(engine, "2.00")
        following.look()
        assert following.known_policy(scope) is None
        assert following.policy(scope)[1].shipment_cost == Decimal("2.00")
        assert first[1].shipment_cost == Decimal("1.00")
    finally:
        following.stop()


@pytest.mark.parametrize(
    "rules",
    [
        {"sourcing_groups": ("west",)},
        {"strategies": ({"name": "s", "filters": {"sourcing_groups": ("west",)}},)},
    ],
    ids=["flat", "of a strategy"],
)
def test_a_policys_sourcing_groups_are_those_of_the_network_as_it_is_now(
    engine: Engine, following: Following, rules: dict[str, Any]
) -> None:
    def west(*nodes: str) -> DistributionGroup:
        return DistributionGroup(group_id="west", nodes=nodes)

    def put(*groups: DistributionGroup) -> None:
        with transaction(engine) as session:
            whole = a_network(*NODES).model_copy(update={"groups": groups})
            network.import_network(session, whole, PRODUCTS, NOW)

    document = RoutingPolicy(name="r", **rules).model_dump(mode="json")
    with transaction(engine) as session:
        version = policies.publish(session, "routing", document, NOW)
    # A group that the network lacks would leave every order unserved.
    with pytest.raises(UnknownReferenceError, match="'west'"), transaction(engine) as session:
        policies.activate(session, version, {}, NOW)
    put(west("A"))
    with transaction(engine) as session:
        policies.activate(session, version, {}, NOW)
    scope = ("", "", "b2c", "web")
    following.start()
    try:
        assert following.policy(scope)[1].sourced_from == (west("A"),)
        assert following.known_policy(scope) is not None
        put(west("A", "B"))
        wait_until(lambda: following.known_policy(scope) is None)
        assert following.policy(scope)[1].sourced_from == (west("A", "B"),)
    finally:
        following.stop()
    with reading(engine) as session:
        assert policies.routing_policy(session, version).sourced_from == (west("A", "B"),)


def test_the_thread_follows_by_itself_and_survives_a_database_that_is_away(
    engine: Engine, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_module, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(following_module, "CHECK_SECONDS", 0.01)
    following.start()
    try:
        with transaction(engine) as session:
            session.execute(text("ALTER TABLE cool_offs RENAME TO away"))
            session.execute(text("INSERT INTO away VALUES ('A', 'X', '2026-03-03', 'x')"))
        with transaction(engine) as session:
            session.execute(text("DELETE FROM away"))
            session.execute(text("ALTER TABLE away RENAME TO cool_offs"))
            inventory.receive(session, "A", "X", 5, key="k", now=NOW)
        wait_until(lambda: plain(following.view())["sold"]["web", "X"] == {"A": 10, "B": 7})
        assert following.reads_nothing
    finally:
        following.stop()
    assert not following.reads_nothing


def test_the_thread_survives_a_row_it_cannot_read_and_then_reads_everything(
    engine: Engine, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_module, "_PAUSE_SECONDS", 0.01)
    failed = threading.Event()

    def fail(*_: object) -> AvailabilityView:
        monkeypatch.undo()
        failed.set()
        raise ValueError("a row that this version cannot read")

    monkeypatch.setattr(following_module, "moved", fail)
    following.start()
    try:
        with transaction(engine) as session:
            inventory.receive(session, "A", "X", 5, key="k", now=NOW)
        assert failed.wait(10)
        wait_until(lambda: plain(following.view())["sold"]["web", "X"] == {"A": 10, "B": 7})
        assert following.is_current
    finally:
        following.stop()


def test_a_view_that_cannot_look_is_not_current(
    engine: Engine, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    following.start()
    try:
        assert following.is_current
        with transaction(engine) as session:
            session.execute(text("ALTER TABLE cool_offs RENAME TO away"))
            session.execute(text("INSERT INTO away VALUES ('A', 'X', '2026-03-03', 'x')"))
        monkeypatch.setattr(following_module, "STALE_SECONDS", 0.5)
        wait_until(lambda: not following.is_current)
    finally:
        with transaction(engine) as session:
            session.execute(text("DELETE FROM away"))
            session.execute(text("ALTER TABLE away RENAME TO cool_offs"))
        following.stop()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        threading.Event().wait(0.005)


def _activate(engine: Engine, cost: str) -> None:
    with transaction(engine) as session:
        document = RoutingPolicy(name="r", shipment_cost=Decimal(cost)).model_dump(mode="json")
        policies.activate(session, policies.publish(session, "routing", document, NOW), {}, NOW)


def _protect(session: Session, node_id: str, sku: str, channel: str, units: int, tick: int) -> None:
    """Keep units for a channel, as the rules do: its row and the position's sum."""
    pair = (node_id, sku)
    ledger.open_positions(session, [pair])
    ledger.lock_positions(session, [pair])
    kept = protection.protections_at(session, [pair]).get(pair, {})
    delta = protection.keep(session, node_id, sku, kept, {**kept, channel: (units, units)})
    ledger.apply(session, {pair: {"protected": delta}}, Cause(f"protect/{tick}", NOW, "rules"))


# Straight into the tables: the view follows whoever writes.


def _use(session: Session, node_id: str, day: str, units: int) -> None:
    session.execute(
        text(
            "INSERT INTO capacity (node_id, work_date, units_used, orders_used)"
            " VALUES (:node, :day, :units, 1) ON CONFLICT (node_id, work_date)"
            " DO UPDATE SET units_used = capacity.units_used + :units,"
            " orders_used = capacity.orders_used + 1"
        ),
        {"node": node_id, "day": day, "units": units},
    )


def _hold(session: Session, node_id: str, sku: str, units: int) -> None:
    session.execute(
        text(
            "UPDATE positions SET held = held + :units"
            " WHERE node_id = :node AND sku = :sku AND held + :units >= 0"
        ),
        {"node": node_id, "sku": sku, "units": units},
    )


def _expect(session: Session, node_id: str, sku: str, units: int, due: datetime) -> None:
    row = supply.Expected(
        supply_id=f"P{units % 2}",
        node_id=node_id,
        sku=sku,
        quantity=units,
        due=due,
        supply_type=SupplyType.IN_TRANSIT if units % 2 else SupplyType.PLANNED,
    )
    supply.expect_supply(session, [row])


# ---- any interleaving

NODE_IDS = ("A", "B", "NARROW")
RULES = (StockRules(), StockRules(promisable=(SupplyType.IN_TRANSIT,)))
ACTIONS = (
    *["receive"] * 3,
    *["hold"] * 3,
    "end hold",
    "adjust",
    "keep back",
    "protect",
    "exclude",
    "lift",
    "cool off",
    "capacity",
    "capacity back",
    *["supply"] * 2,
    *["backorder"] * 2,
    "drop backorder",
    "rules",
    "product",
    "node",
    "nothing, rolled back",
)
steps = st.tuples(
    st.sampled_from(ACTIONS),
    st.sampled_from(NODE_IDS),
    st.sampled_from(["X", "Y", "ENDLESS"]),
    st.integers(1, 4),
)


class GiveUpError(Exception):
    """Rolls a transaction back."""


def act(session: Session, step: tuple[str, str, str, int], tick: int) -> None:
    """Change some input of the view."""
    action, node_id, sku, units = step
    key = f"{action}/{tick}"
    if action in {"receive", "nothing, rolled back"}:
        inventory.receive(session, node_id, sku, units, key=key, now=NOW)
        if action != "receive":
            raise GiveUpError
    elif action == "hold":
        _hold(session, node_id, sku, units)
    elif action == "end hold":
        _hold(session, node_id, sku, -units)
    elif action == "adjust":
        inventory.adjust(session, node_id, sku, "usable", -units, key=key, now=NOW, reason="lost")
    elif action == "keep back":
        ledger.open_positions(session, [(node_id, sku)])
        deltas: ledger.Changes = {(node_id, sku): {"safety_stock": 1}}
        ledger.apply(session, deltas, Cause(key, NOW, "keep_back"))
    elif action == "protect":
        _protect(session, node_id, sku, CHANNELS[units % 2], units, tick)
    elif action == "exclude":
        until = at(60) if units % 2 else None
        exclusions.exclude(session, node_id, sku if units > 2 else None, until=until, reason="x")
    elif action == "lift":
        exclusions.lift(session, node_id, sku if units > 2 else None, NOW)
    elif action == "cool off":
        reservations.cool_off(session, node_id, sku, at(units), "refused")
    elif action in {"backorder", "drop backorder"}:
        _wait(session, action, sku, units, key)
    else:
        _act_on_more(session, step)


def _wait(session: Session, action: str, sku: str, units: int, key: str) -> None:
    if action == "backorder":
        reservations.add_backorder(
            session, "W-1", [(sku, sku, units)], demand_class="", promise_at=None, key=key, now=NOW
        )
    else:
        reservations.drop_backorder(session, "W-1", [(sku, sku, units)], key=key, now=NOW)


def _act_on_more(session: Session, step: tuple[str, str, str, int]) -> None:
    action, node_id, sku, units = step
    if action == "capacity":
        _use(session, node_id, f"2026-03-0{units + 2}", units)
    elif action == "capacity back":
        session.execute(text("DELETE FROM capacity WHERE node_id = :node"), {"node": node_id})
    elif action == "supply":
        _expect(session, node_id, sku, units, at(60 * units - 60))
    elif action == "rules":
        stock_rules.put_rules(session, RULES[units % 2], NOW)
    elif action == "product":
        mode = SupplyMode.STOCKED if units % 2 else SupplyMode.INFINITE
        product = Product(sku=sku, supply_mode=mode, weight_grams=units)
        network.import_network(session, a_network(), [product], NOW)
    elif action == "node":
        changed = a_node(node_id, daily_units=100 * units)
        network.import_network(session, a_network(changed, a_node(f"N{units}")), [], NOW)


def _fresh(engine: Engine) -> Following:
    empty(engine)
    with transaction(engine) as session:
        network.import_network(session, a_network(*NODES), PRODUCTS, NOW)
        for node_id in NODE_IDS:
            inventory.receive(session, node_id, "X", 6, key=f"first/{node_id}", now=NOW)
    return Following(engine, Clock())


supply_steps = st.tuples(
    st.sampled_from(
        (
            *["supply"] * 3,
            *["backorder"] * 2,
            "drop backorder",
            "rules",
            "hold",
            "adjust",
            "receive",
            "keep back",
            "protect",
            "exclude",
            "lift",
        )
    ),
    st.sampled_from(("A", "B")),
    st.just("X"),
    st.integers(1, 4),
)
any_sequence = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(sequence=st.lists(supply_steps, min_size=8, max_size=20))
@any_sequence
def test_what_the_view_offers_of_supply_is_what_can_be_promised_by_its_date(
    engine: Engine, sequence: list[tuple[str, str, str, int]]
) -> None:
    _follow(engine, [(step, True) for step in sequence])


@given(sequence=st.lists(st.tuples(steps, st.booleans()), min_size=5, max_size=30))
@any_sequence
def test_after_any_sequence_of_changes_the_view_equals_the_database(
    engine: Engine, sequence: list[tuple[tuple[str, str, str, int], bool]]
) -> None:
    _follow(engine, sequence)


def _follow(engine: Engine, sequence: list[tuple[tuple[str, str, str, int], bool]]) -> None:
    """Change things, look where told to, and compare."""
    following = _fresh(engine)
    following.look()
    for tick, (step, looks) in enumerate(sequence):
        try:
            with transaction(engine) as session:
                act(session, step, tick)
        except (GiveUpError, DomsError):
            pass
        except IntegrityError:
            continue  # refused by a check of the database: the view must not have seen it
        if looks:
            assert plain(following.look()) == as_the_tables_say(engine)
    assert plain(following.look()) == as_the_tables_say(engine)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_order_commits_finish_in_the_view_equals_the_database(
    engine: Engine, seed: int
) -> None:
    """Transactions of many connections overlap and end in any order while the view looks."""
    following = _fresh(engine)
    following.look()
    errors: list[BaseException] = []
    ended = threading.Event()

    def write(writer: int) -> None:
        chance = random.Random(100 * seed + writer)  # noqa: S311 (a test's choice, no secret)
        for number in range(30):
            step = (
                chance.choice(
                    ["receive", "hold", "end hold", "adjust", "supply", "backorder", "capacity"]
                ),
                chance.choice(NODE_IDS),
                chance.choice(["X", "Y"]),
                chance.randint(1, 4),
            )
            try:
                with transaction(engine) as session:
                    act(session, step, 1_000 * writer + number)
                    if engine.dialect.name != "sqlite":
                        ended.wait(chance.random() / 100)  # others commit before this one
            except (DomsError, IntegrityError):
                pass
            except Exception as error:
                errors.append(error)

    def look() -> None:
        try:
            while not ended.is_set():
                following.look()
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(5)]
    looker = threading.Thread(target=look)
    for thread in (looker, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    looker.join()

    assert errors == []
    # What is left to read is only what came after the last look: the rest came through the feed.
    assert plain(following.look()) == as_the_tables_say(engine)
    with one_moment(engine) as connection:
        assert plain(read_view(connection, NOW)) == plain(following.view())


def same_arrays(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(x, y) for key in one for x, y in zip(one[key], other[key], strict=True)
    )


def test_stock_by_sku_is_sorted_by_node_and_typed_as_the_kernel_wants(
    engine: Engine, following: Following
) -> None:
    first = following.view()
    with transaction(engine) as session:
        inventory.receive(session, "ATPICK", "X", 2, key="k", now=NOW)
    facts: KernelFacts = following.view().facts(["X", "Z"], "web", NOW)
    nodes, units = facts.stock["X"]
    assert (nodes.dtype.name, units.dtype.name) == ("int32", "int64")
    assert nodes.tolist() == sorted(nodes.tolist())
    assert facts.stock["Z"].nodes.size == 0
    with one_moment(engine) as connection:
        assert same_arrays(read_view(connection, NOW).stock, following.view().stock)
    assert first.megabytes() > 0
