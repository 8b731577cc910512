"""B2B orders: levels of approval, who may vote, and what happens when nobody does."""

from dataclasses import replace
from typing import Any

import pytest

from activities.approval import ApprovalActivities, VoterTask
from store import api_keys, approvals
from store.approvals import Vote as StoredVote
from store.approvals import WaitingApproval
from store.engine import reading, transaction
from tests.workflow.world import World, document
from workflows.messages import Vote

LEVELS: dict[str, Any] = {
    "approvals": [
        {"level": 1, "role": "manager"},
        {"level": 2, "role": "finance", "escalate_to": "cfo"},
    ]
}


def b2b() -> dict[str, Any]:
    return document(
        order_type="b2b",
        customer={"name": "Ada Example", "email": "ada@example.org", "account_id": "ACME"},
        payment={"status": "terms"},
    )


def waiting(world: World) -> list[WaitingApproval]:
    with reading(world.engine) as session:
        return approvals.waiting(session)


def votes(world: World) -> list[StoredVote]:
    with reading(world.engine) as session:
        return approvals.votes(session, "W-1")


async def submitted(world: World, **process: Any) -> Any:
    """A B2B order that waits for its first level."""
    world.prepare(process={**LEVELS, **process})
    world.stock(dc_1__TEA=5)
    order = await world.submit(b2b(), entered_by="enterer")
    await world.until_shown(order, "pending_approval")
    await world.until(lambda: len(waiting(world)) == 1, "the first level is asked")
    return order


async def vote(
    order: Any,
    verdict: str,
    approver: str,
    role: str,
    level: int,
    request_id: str | None = None,
    *,
    key_name: str | None = None,
) -> None:
    await order.signal(
        verdict,
        Vote(
            request_id=request_id or f"{verdict}-{approver}-{level}",
            approver=approver,
            role=role,
            level=level,
            key_name=key_name,
        ),
    )


async def until_votes(world: World, number: int) -> None:
    await world.until(lambda: len(votes(world)) == number, f"{number} votes are recorded")


async def test_an_order_approved_on_two_levels_goes_its_way(world: World) -> None:
    # given
    order = await submitted(world)
    assert world.sellable() == {"dc-1": 5}
    await world.until_attribute("order-W-1", "PendingApproval", "manager")
    # when
    await vote(order, "approve", "mia", "manager", 1)
    await world.until(lambda: [x.level for x in waiting(world)] == [2], "level 2 is asked")
    await world.until_attribute("order-W-1", "PendingApproval", "finance")
    await vote(order, "approve", "finn", "finance", 2)
    # then
    await world.until_shown(order, "reserved")
    await world.until_attribute("order-W-1", "PendingApproval", None)
    assert waiting(world) == []
    assert [(x.approver, x.level, x.counted) for x in votes(world)] == [
        ("mia", 1, True),
        ("finn", 2, True),
    ]
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_votes_that_do_not_count_are_recorded_and_change_nothing(world: World) -> None:
    # given
    order = await submitted(world)
    # when
    await vote(order, "approve", "finn", "finance", 1)
    await vote(order, "approve", "enterer", "manager", 1)
    await vote(order, "reject", "finn", "finance", 2)
    await until_votes(world, 3)
    # then
    assert [(x.approver, x.counted, x.why) for x in votes(world)] == [
        ("finn", False, "manager must decide, not finance"),
        ("enterer", False, "who entered the order cannot approve it"),
        ("finn", False, "level 1 is waited for, not 2"),
    ]
    assert [x.level for x in waiting(world)] == [1]
    assert world.page().stage == "pending_approval"
    assert world.sellable() == {"dc-1": 5}


async def test_the_role_a_vote_claims_is_looked_up(world: World) -> None:
    # given: two callers with keys; one is a manager
    order = await submitted(world)
    with transaction(world.engine) as session:
        api_keys.create_key(session, "mia", ["manager"], world.now())
        api_keys.create_key(session, "otto", ["support"], world.now())
    # when: messages of others claim the role, or another's key
    await vote(order, "approve", "otto", "manager", 1, key_name="otto")
    await vote(order, "approve", "nobody", "manager", 1, key_name="nobody")
    await vote(order, "approve", "otto", "manager", 1, "borrowed", key_name="mia")
    await until_votes(world, 3)
    # then
    why = "the voter has not the role manager"
    assert [(x.approver, x.counted, x.why) for x in votes(world)] == [
        ("otto", False, why),
        ("nobody", False, why),
        ("otto", False, why),
    ]
    assert [x.level for x in waiting(world)] == [1]
    # when
    await vote(order, "approve", "mia", "manager", 1, key_name="mia")
    # then
    await world.until(lambda: [x.level for x in waiting(world)] == [2], "level 2 is asked")


@pytest.mark.parametrize("local_may_vote", [True, False])
async def test_a_vote_without_a_key_counts_where_the_api_takes_such(
    world: World, local_may_vote: bool
) -> None:
    context = replace(world.context, local_may_vote=local_may_vote)
    voter = ApprovalActivities(context).check_voter(VoterTask(approver="mia", role="manager"))
    assert voter.has_role is local_may_vote


async def test_an_administrator_votes_in_every_role_until_the_key_is_revoked(world: World) -> None:
    with transaction(world.engine) as session:
        api_keys.create_key(session, "root", ["admin"], world.now())
    activities = ApprovalActivities(world.context)
    task = VoterTask(approver="root", role="manager", key_name="root")
    assert activities.check_voter(task).has_role
    with transaction(world.engine) as session:
        api_keys.revoke(session, "root", world.now())
    assert not activities.check_voter(task).has_role


async def test_a_second_vote_and_a_repeated_request_change_nothing(world: World) -> None:
    # given
    order = await submitted(world)
    await vote(order, "approve", "mia", "manager", 1, "r-1")
    await until_votes(world, 1)
    # when
    await vote(order, "approve", "mia", "manager", 1, "r-1")
    await vote(order, "reject", "mia", "manager", 1, "r-2")
    await until_votes(world, 2)
    # then
    assert [(x.request_id, x.counted) for x in votes(world)] == [("r-1", True), ("r-2", False)]
    assert votes(world)[1].why == "this level is already decided"
    assert [x.level for x in waiting(world)] == [2]


async def test_a_persons_vote_counts_on_one_level_only(world: World) -> None:
    # given: mia, who may vote in both roles, approved the first level
    order = await submitted(world)
    with transaction(world.engine) as session:
        api_keys.create_key(session, "mia", ["manager", "finance"], world.now())
        api_keys.create_key(session, "root", ["admin"], world.now())
    await vote(order, "approve", "mia", "manager", 1, key_name="mia")
    await world.until(lambda: [x.level for x in waiting(world)] == [2], "level 2 is asked")
    # when
    await vote(order, "approve", "mia", "finance", 2, "again", key_name="mia")
    await until_votes(world, 2)
    # then
    assert (votes(world)[1].counted, votes(world)[1].why) == (
        False,
        "has voted on level 1; another person must decide level 2",
    )
    assert [x.level for x in waiting(world)] == [2]
    assert world.page().stage == "pending_approval"
    assert world.sellable() == {"dc-1": 5}
    # when: another person
    await vote(order, "approve", "root", "finance", 2, key_name="root")
    # then
    await world.until_shown(order, "reserved")


async def test_who_changed_an_order_does_not_approve_it(world: World) -> None:
    # given: mia, who may approve, made the order ten times as large
    order = await submitted(world)
    many = [{"line_id": "1", "sku": "TEA", "quantity": 20}]
    larger = b2b() | {"version": 2, "lines": document(lines=many)["lines"]}
    await world.submit(larger, entered_by="mia")
    await world.answer(order, "Changed to version 2")
    # when
    await vote(order, "approve", "mia", "manager", 1)
    await until_votes(world, 1)
    # then
    assert (votes(world)[0].counted, votes(world)[0].why) == (
        False,
        "who changed the order cannot approve it",
    )
    assert [x.level for x in waiting(world)] == [1]
    assert world.sellable() == {"dc-1": 5}
    # when: somebody else
    await vote(order, "approve", "ann", "manager", 1)
    # then
    await world.until(lambda: [x.level for x in waiting(world)] == [2], "level 2 is asked")


async def test_one_person_may_approve_every_level_where_the_policy_says_so(world: World) -> None:
    # given
    order = await submitted(world, same_person_may_approve=True)
    await vote(order, "approve", "mia", "manager", 1)
    await world.until(lambda: [x.level for x in waiting(world)] == [2], "level 2 is asked")
    # when
    await vote(order, "approve", "mia", "finance", 2)
    # then
    await world.until_shown(order, "reserved")
    assert [(x.approver, x.level, x.counted) for x in votes(world)] == [
        ("mia", 1, True),
        ("mia", 2, True),
    ]


async def test_a_vote_after_the_last_level_is_recorded_and_changes_nothing(world: World) -> None:
    # given
    order = await submitted(world)
    await vote(order, "approve", "mia", "manager", 1)
    await vote(order, "approve", "finn", "finance", 2)
    await world.until_shown(order, "reserved")
    # when
    await vote(order, "reject", "noa", "finance", 2)
    await until_votes(world, 3)
    # then
    assert votes(world)[2].counted is False
    assert world.page().stage == "reserved"
    assert world.sellable() == {"dc-1": 3}


async def test_a_rejected_order_takes_nothing(world: World) -> None:
    # given
    order = await submitted(world)
    # when
    await vote(order, "reject", "mia", "manager", 1)
    # then
    assert await world.result(order) == ("rejected", 0, 2)
    page = world.page()
    assert (page.stage, page.closed) == ("rejected", True)
    assert waiting(world) == []
    assert world.sellable() == {"dc-1": 5}
    assert world.wms.handovers == []
    world.nothing_is_astray()


async def test_an_approval_is_reminded_escalated_and_expires(world: World) -> None:
    # given
    order = await submitted(world)
    await vote(order, "approve", "mia", "manager", 1)
    await world.until(lambda: [x.level for x in waiting(world)] == [2], "level 2 is asked")
    # when
    await world.skip(hours=25)
    # then
    await world.answer(order, "Level 2: finance reminded")
    assert [x.role for x in waiting(world)] == ["finance"]
    # when
    await world.skip(hours=48)
    # then
    await world.until(lambda: [x.role for x in waiting(world)] == ["cfo"], "it is escalated")
    # when
    await world.skip(days=12)
    # then
    assert await world.result(order) == ("rejected", 0, 2)
    assert waiting(world) == []
    assert "Approval expired: the order is refused" in world.story()
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def test_who_an_approval_was_escalated_to_may_decide(world: World) -> None:
    # given
    order = await submitted(world)
    await vote(order, "approve", "mia", "manager", 1)
    await world.until(lambda: [x.level for x in waiting(world)] == [2], "level 2 is asked")
    await vote(order, "approve", "cleo", "cfo", 2, "too-early")
    await until_votes(world, 2)
    assert votes(world)[1].counted is False
    await world.skip(hours=73)
    await world.until(lambda: [x.role for x in waiting(world)] == ["cfo"], "it is escalated")
    # when
    await vote(order, "approve", "cleo", "cfo", 2, "in-time")
    # then
    await world.until_shown(order, "reserved")


async def test_stock_may_be_held_during_approval_and_is_freed_by_a_rejection(world: World) -> None:
    # given
    world.prepare(process={**LEVELS, "hold_stock_during_approval": True})
    world.stock(dc_1__TEA=5)
    order = await world.submit(b2b(), entered_by="enterer")
    await world.until(lambda: world.sellable() == {"dc-1": 3}, "its stock is held")
    await world.skip(hours=2)
    assert world.wms.handovers == []
    # when
    await vote(order, "reject", "mia", "manager", 1)
    # then
    assert await world.result(order) == ("rejected", 0, 2)
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def test_stock_held_during_approval_is_released_after_it(world: World) -> None:
    # given
    order = await submitted(world, hold_stock_during_approval=True)
    await world.until(lambda: world.sellable() == {"dc-1": 3}, "its stock is held")
    await world.skip(hours=2)
    # when
    await vote(order, "approve", "mia", "manager", 1)
    await vote(order, "approve", "finn", "finance", 2)
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_an_order_cancelled_during_approval_is_asked_for_no_more(world: World) -> None:
    # given
    order = await submitted(world)
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert waiting(world) == []
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def test_an_order_of_which_all_lines_are_cancelled_is_asked_for_no_more(
    world: World,
) -> None:
    # given
    order = await submitted(world)
    # when
    await world.cancel(order, lines={"1": 2})
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert waiting(world) == []
    world.nothing_is_astray()


async def test_an_order_that_no_rule_concerns_needs_no_approval(world: World) -> None:
    # given
    rule = {"level": 1, "role": "manager", "condition": {"min_total": "1000"}}
    world.prepare(process={"approvals": [rule]})
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(b2b(), entered_by="enterer")
    # then
    await world.until_shown(order, "reserved")
    assert waiting(world) == []
