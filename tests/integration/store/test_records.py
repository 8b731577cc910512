from datetime import timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.network import Place
from domain.policy_rollout import Scope, Whose
from domain.process_policy import ProcessPolicy
from domain.routing.decision import (
    Decision,
    DecisionRequest,
    Purpose,
    RequestGroup,
    RequestLine,
    Snapshot,
)
from domain.routing.policy import RoutingPolicy
from store import (
    api_keys,
    approvals,
    decisions,
    holds,
    inventory,
    network,
    order_intake,
    pins,
    policies,
    reporting,
)
from store.engine import reading, transaction
from store.holds import HoldItem
from store.snapshot import build_snapshot
from tests.integration.store.builders import (
    NOW,
    PRODUCTS,
    a_network,
    a_node,
    a_plan,
    a_world,
    an_order,
    at,
    everything,
    position,
    released_order,
    reserve,
)


def publish(session: Session, name: str) -> str:
    return policies.publish(session, "routing", {"name": name}, NOW)


def in_force(session: Session, **where: str) -> str:
    whose = {"brand": "acme", "region": "US", "order_type": "b2c", "channel": "web", **where}
    return policies.active(session, "routing", Whose(**whose), NOW)[0]


def test_a_policy_is_published_once_under_its_contents_version(engine: Engine) -> None:
    with transaction(engine) as session:
        version = publish(session, "one")
        assert publish(session, "one") == version
        assert publish(session, "two") != version
        assert policies.publish(session, "process", {"name": "one"}, NOW) != version
        assert policies.load_policy(session, version) == ("routing", {"name": "one"})
        assert policies.routing_policy(session, version) == RoutingPolicy(name="one")
        assert len(policies.list_policies(session)) == 3


def test_a_policy_of_the_other_kind_or_unknown_is_refused(engine: Engine) -> None:
    with transaction(engine) as session:
        process = policies.publish(session, "process", {"name": "p"}, NOW)
        assert policies.process_policy(session, process) == ProcessPolicy(name="p")
        with pytest.raises(UnknownReferenceError, match="is a process policy"):
            policies.routing_policy(session, process)
        with pytest.raises(UnknownReferenceError, match="no policy 'none'"):
            policies.load_policy(session, "none")
        with pytest.raises(UnknownReferenceError, match="no policy 'none'"):
            policies.activate(session, "none", Scope(), NOW)
        with pytest.raises(ValidationError):
            policies.activate(session, process, {"planet": "Mars"}, NOW)
        with pytest.raises(UnknownReferenceError, match="no routing policy is active"):
            in_force(session)


def test_the_narrowest_scope_is_in_force_then_the_latest_activation(engine: Engine) -> None:
    with transaction(engine) as session:
        every, later, brand = (publish(session, x) for x in ("every", "later", "brand"))
        policies.activate(session, every, Scope(), at(1))
        assert in_force(session) == every
        policies.activate(session, brand, {"brand": "acme"}, at(2))
        policies.activate(session, later, Scope(), at(3))
        assert in_force(session) == brand
        assert in_force(session, brand="other") == later
        pins.withdraw(session, later, at(4))
        assert in_force(session, brand="other") == every
        before = [x.model_dump() for x in policies.list_policies(session)]
        with pytest.raises(UnknownReferenceError, match="is not active"):
            pins.withdraw(session, later, at(5))
        assert [x.model_dump() for x in policies.list_policies(session)] == before


def test_approvals_wait_for_a_role_until_they_are_closed(engine: Engine) -> None:
    with transaction(engine) as session:
        order = an_order("W-1", order_type="b2b")
        order_intake.accept_order(session, order, content_hash="h", entered_by="buyer", now=NOW)
        approvals.ask(session, "W-1", 1, "manager", at(1), at(100))
        approvals.ask(session, "W-2", 1, "finance", at(0), None)
        (first, second) = approvals.waiting(session)
        assert (first.order_id, first.total) == ("W-2", None)
        assert (second.order_id, second.total, second.currency) == ("W-1", "20.00", "USD")
        assert [x.order_id for x in approvals.waiting(session, "manager")] == ["W-1"]
        # Escalated: another role is asked, the waiting time goes on.
        approvals.ask(session, "W-1", 1, "director", at(50), at(200))
        (escalated,) = approvals.waiting(session, "director")
        assert (escalated.asked_at, escalated.expires_at) == (at(1), at(200))
        assert approvals.close(session, "W-1", 1, "approved", at(60))
        assert not approvals.close(session, "W-1", 1, "rejected", at(61))
        approvals.ask(session, "W-1", 1, "manager", at(70), None)
        assert [x.order_id for x in approvals.waiting(session)] == ["W-2"]


def test_every_vote_is_kept_once_counted_or_not(engine: Engine) -> None:
    def vote(request_id: str, counted: bool, why: str) -> bool:
        with transaction(engine) as session:
            return approvals.record_vote(
                session, "W-1", 1, request_id, "ann", "clerk", "approve", counted, why, NOW
            )

    assert vote("r-1", counted=False, why="wrong role")
    before = everything(engine)
    assert not vote("r-1", counted=True, why="")
    assert everything(engine) == before
    assert vote("r-2", counted=True, why="")
    with reading(engine) as session:
        found = approvals.votes(session, "W-1")
    assert [(x.request_id, x.counted, x.why) for x in found] == [
        ("r-1", False, "wrong role"),
        ("r-2", True, ""),
    ]


def test_a_key_is_known_until_it_is_revoked_and_never_stored(engine: Engine) -> None:
    with transaction(engine) as session:
        plain = api_keys.create_key(session, "shop", ["intake", "intake", "analyst"], NOW)
        other = api_keys.create_key(session, "other", [], NOW)
    assert plain not in repr(everything(engine))
    with transaction(engine) as session:
        assert api_keys.check(session, plain) == api_keys.Caller(
            name="shop", roles=("analyst", "intake")
        )
        assert api_keys.check(session, plain + "x") is None
        assert api_keys.revoke(session, "shop", NOW) == 1
        assert api_keys.revoke(session, "shop", NOW) == 0
        assert api_keys.check(session, plain) is None
        assert api_keys.check(session, other) is not None


def test_a_snapshot_holds_all_facts_of_the_skus_asked_for(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 2, ("A", "Y"): 1})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3)))
    reserve(engine, "W-2", a_plan(("B", "1", "X", 2), work_date="2026-02-28"))
    with transaction(engine) as session:
        inventory.expect_supply(
            session,
            [inventory.Expected(supply_id="PO", node_id="A", sku="X", quantity=7, due=at(90))],
        )
    with reading(engine) as session:
        snapshot = build_snapshot(session, ["X", "UNKNOWN"], NOW)
    assert snapshot.availability == {"X": {"A": 2}, "UNKNOWN": {}}
    assert [node.node_id for node in snapshot.nodes] == ["A", "ATPICK", "B", "NARROW", "NET", "OFF"]
    assert [service.service_id for service in snapshot.services] == ["ground"]
    assert snapshot.products == {"X": PRODUCTS[0]}
    # What was used in the past is left out.
    assert [(x.node_id, x.units, x.orders) for x in snapshot.capacity] == [("A", 997, 99)]
    assert [(x.node_id, x.quantity) for x in snapshot.inbound] == [("A", 7)]
    assert snapshot.base_currency == "USD"
    assert snapshot == type(snapshot).model_validate(snapshot.model_dump(mode="json"))


def test_a_snapshots_version_changes_with_stock(engine: Engine) -> None:
    a_world(engine)
    with transaction(engine) as session:
        first = build_snapshot(session, ["X"], NOW).availability_version
        assert build_snapshot(session, ["X"], NOW).availability_version == first
        inventory.receive(session, "A", "X", 1, key="k", now=NOW)
        assert build_snapshot(session, ["X"], NOW).availability_version != first


def test_a_decision_comes_back_with_all_it_looked_at(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    request = DecisionRequest(
        request_id="D-1",
        purpose=Purpose.ROUTE,
        now=NOW,
        lines=(RequestLine(line_id="1", sku="X", quantity=1),),
        groups=(RequestGroup(group_id="1", destination=Place(country="US")),),
    )
    policy = RoutingPolicy(name="plain")
    decision = Decision(request_id="D-1", policy_version="v", snapshot_id="s", options=())
    with transaction(engine) as session:
        snapshot = build_snapshot(session, ["X"], NOW)
        decisions.save_decision(session, "D-1", "W-1", request, snapshot, policy, decision, NOW)
        other = decision.model_copy(update={"snapshot_id": "other"})
        decisions.save_decision(session, "D-1", "W-1", request, snapshot, policy, other, NOW)
        found = decisions.load_decision(session, "D-1")
        assert (found.order_id, found.saved_at) == ("W-1", NOW)
        assert (found.request, found.snapshot) == (request, snapshot)
        assert (found.policy, found.decision) == (policy, decision)
        with pytest.raises(UnknownReferenceError, match="no decision 'D-2'"):
            decisions.load_decision(session, "D-2")


def test_decisions_share_the_network_they_looked_at_and_keep_it_when_it_changes(
    engine: Engine,
) -> None:
    a_world(engine)
    request = DecisionRequest(request_id="D", purpose=Purpose.ROUTE, now=NOW, lines=(), groups=())
    decision = Decision(request_id="D", policy_version="v", snapshot_id="s", options=())

    def save(decision_id: str, snapshot: Snapshot) -> None:
        with transaction(engine) as session:
            policy = RoutingPolicy(name="plain")
            decisions.save_decision(
                session, decision_id, None, request, snapshot, policy, decision, NOW
            )

    with reading(engine) as session:
        before = build_snapshot(session, ["X"], NOW)
    save("D-1", before)
    save("D-2", before)
    some = before.model_copy(update={"nodes": before.nodes[:2]})
    save("D-3", some)
    with transaction(engine) as session:
        network.import_network(session, a_network(a_node("A", daily_units=1)), (), NOW)
    save("D-4", before)
    with reading(engine) as session:
        found = [decisions.load_decision(session, f"D-{n}").snapshot for n in range(1, 5)]
        kept = session.execute(text("SELECT count(*) FROM network_versions")).scalar_one()
    assert found == [before, before, some, before]
    assert kept == 1


def hold(engine: Engine, hold_id: str, node_id: str, sku: str, quantity: int) -> None:
    item = HoldItem(line_id="1", node_id=node_id, sku=sku, quantity=quantity)
    with transaction(engine) as session:
        holds.hold(session, hold_id, [item], lasting=timedelta(minutes=15), now=NOW)


def test_sound_books_show_no_contradiction(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    with transaction(engine) as session:
        order_intake.accept_order(session, an_order(), content_hash="h", entered_by="shop", now=NOW)
    released_order(engine, "W-1", ("A", "1", "X", 2))
    hold(engine, "cart-1", "A", "X", 1)
    with reading(engine) as session:
        assert set(reporting.consistency(session).values()) == {0}
        totals = reporting.summary(session)
        (at_a, *_) = reporting.by_node(session)
    assert totals["orders_by_stage"] == {"received": 1}
    assert totals["fulfillments_by_status"] == {"created": 1}
    assert (totals["units"]["ordered"], totals["labels"]) == (2, 0)
    assert at_a == {
        "node_id": "A",
        "fulfillments": 1,
        "open_fulfillments": 1,
        "usable": 9,
        "spoken_for": 3,
    }


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            "UPDATE positions SET usable = 1",
            {"oversold_units": 2, "unexplained": 1},
        ),
        (
            "UPDATE positions SET released = 3, usable = 10",
            {"unexplained": 2, "positions_unlike_reservations": 1},
        ),
        ("DELETE FROM hold_lines", {"positions_unlike_holds": 1}),
        (
            "INSERT INTO protections (sku, node_id, channel, quantity, level)"
            " VALUES ('X', 'A', 'web', 1, 1)",
            {"positions_unlike_protections": 1},
        ),
        ("UPDATE capacity SET units_used = units_used + 1", {"capacity_unlike_reservations": 1}),
        ("UPDATE orders SET closed = (1 = 1)", {"open_reservations_of_closed_orders": 1}),
        ("DELETE FROM messages", {"orders_never_started": 1}),
    ],
)
def test_damage_to_the_books_is_found(engine: Engine, damage: str, found: dict[str, int]) -> None:
    a_world(engine, {("A", "X"): 9})
    with transaction(engine) as session:
        order_intake.accept_order(session, an_order(), content_hash="h", entered_by="shop", now=NOW)
    released_order(engine, "W-1", ("A", "1", "X", 2))
    hold(engine, "cart-1", "A", "X", 1)
    with transaction(engine) as session:
        session.execute(text(damage))
    with reading(engine) as session:
        figures = reporting.consistency(session)
    assert {name: value for name, value in figures.items() if value} == found
    assert position(engine, "A", "X").held == 1
