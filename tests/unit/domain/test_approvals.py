from decimal import Decimal
from typing import Any

import pytest

from domain.approvals import (
    Ballot,
    Verdict,
    approval_chain,
    count_vote,
    levels_of,
    own_change,
    second_level,
)
from domain.catalogue import Product
from domain.orders import Order, OrderType
from domain.process_policy import ApprovalCondition, ApprovalRule, ProcessPolicy
from tests.unit.domain.test_orders import order

MANAGER = ApprovalRule(level=1, role="manager", escalate_to="director")


def chain(condition: ApprovalCondition, asked: Order | None = None, **facts: Any) -> list[str]:
    policy = ProcessPolicy(
        name="p",
        order_types=(OrderType.B2B,),
        approvals=(
            ApprovalRule(level=2, role="director", condition=condition),
            ApprovalRule(level=1, role="manager", condition=condition),
        ),
        credit_limits={"ACME": Decimal(1000)},
    )
    known: dict[str, Any] = {
        "total_base": Decimal(500),
        "margin": Decimal("0.30"),
        "categories": {"tools"},
        "open_terms": Decimal(400),
    }
    rules = approval_chain(asked or order(order_type="b2b"), policy, **(known | facts))
    return [rule.role for rule in rules]


def test_levels_are_asked_lowest_first_and_only_of_their_order_type() -> None:
    assert chain(ApprovalCondition()) == ["manager", "director"]
    assert chain(ApprovalCondition(), order(order_type="b2c")) == []


@pytest.mark.parametrize(
    ("condition", "facts", "asked"),
    [
        (ApprovalCondition(min_total=Decimal(500)), {}, True),
        (ApprovalCondition(min_total=Decimal("500.01")), {}, False),
        (ApprovalCondition(accounts=("ACME",)), {}, True),
        (ApprovalCondition(accounts=("OTHER",)), {}, False),
        (ApprovalCondition(categories=("tools", "toys")), {}, True),
        (ApprovalCondition(categories=("toys",)), {}, False),
        (ApprovalCondition(max_margin=Decimal("0.30")), {}, True),
        (ApprovalCondition(max_margin=Decimal("0.29")), {}, False),
        (ApprovalCondition(max_margin=Decimal("0.29")), {"margin": None}, True),
        (ApprovalCondition(over_credit=True), {}, False),
        (ApprovalCondition(over_credit=True), {"open_terms": Decimal(500)}, False),
        (ApprovalCondition(over_credit=True), {"open_terms": Decimal("500.01")}, True),
        (ApprovalCondition(payment_terms=("NET30",)), {}, True),
        (ApprovalCondition(payment_terms=("NET90",)), {}, False),
        (ApprovalCondition(accounts=("ACME",), min_total=Decimal(501)), {}, False),
    ],
)
def test_a_level_is_asked_when_every_part_of_its_condition_holds(
    condition: ApprovalCondition, facts: dict[str, Any], asked: bool
) -> None:
    b2b = order(order_type="b2b", customer={"account_id": "ACME"}, payment_terms="NET30")

    assert chain(condition, b2b, **facts) == (["manager", "director"] if asked else [])


def levels(
    asked: Order, condition: ApprovalCondition, *products: Product, open_terms: str = "0"
) -> list[str]:
    policy = ProcessPolicy(
        name="p",
        approvals=(ApprovalRule(level=1, role="manager", condition=condition),),
        credit_limits={"ACME": Decimal(1000)},
    )
    rules = levels_of(
        asked,
        policy,
        products={product.sku: product for product in products},
        base="USD",
        rates={"EUR": "1.10"},
        open_terms=Decimal(open_terms),
    )
    return [rule.role for rule in rules]


def b2b(price: str = "100", **fields: Any) -> Order:
    line = {"line_id": "1", "sku": "SAW", "quantity": 2, "unit_price": price}
    return order(order_type="b2b", lines=[line], charges=[], **fields)


@pytest.mark.parametrize(("limit", "asked"), [("0.40", ["manager"]), ("0.39", []), ("-1", [])])
def test_the_margin_is_what_is_left_of_the_goods_value(limit: str, asked: list[str]) -> None:
    condition = ApprovalCondition(max_margin=Decimal(limit))

    # (200 - 2 x 60) / 200
    assert levels(b2b(), condition, Product(sku="SAW", unit_cost=Decimal(60))) == asked


def test_a_margin_that_cannot_be_computed_is_seen_by_someone() -> None:
    assert levels(b2b(price="0"), ApprovalCondition(max_margin=Decimal("0.1"))) == ["manager"]


def test_totals_count_in_the_base_currency_and_categories_of_any_line() -> None:
    in_euros = b2b(currency="EUR")

    assert levels(in_euros, ApprovalCondition(min_total=Decimal(220))) == ["manager"]
    assert levels(in_euros, ApprovalCondition(min_total=Decimal("220.01"))) == []
    saw = Product(sku="SAW", category="tools")
    assert levels(b2b(), ApprovalCondition(categories=("tools",)), saw) == ["manager"]
    account = b2b(customer={"account_id": "ACME"})
    over = ApprovalCondition(over_credit=True)
    assert levels(account, over, open_terms="800") == []
    assert levels(account, over, open_terms="800.01") == ["manager"]


def test_a_consumers_order_passes_no_level() -> None:
    assert levels(order(order_type="b2c"), ApprovalCondition()) == []


def test_an_account_without_a_limit_is_never_over_its_credit() -> None:
    assert chain(ApprovalCondition(over_credit=True), open_terms=Decimal(10**6)) == []


def vote(**changes: Any) -> Ballot:
    facts: dict[str, Any] = {
        "level": 1,
        "role": "manager",
        "approver": "ann",
        "asked": MANAGER,
        "escalated": False,
        "entered_by": "bob",
        "voters": (),
    }
    return count_vote(**(facts | changes))


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({}, Verdict.COUNTS, ""),
        ({"asked": None}, Verdict.LATE, "this level is already decided"),
        ({"level": 0}, Verdict.LATE, "this level is already decided"),
        ({"level": 2}, Verdict.OTHER_LEVEL, "level 1 is waited for, not 2"),
        ({"role": "clerk"}, Verdict.WRONG_ROLE, "manager must decide, not clerk"),
        ({"role": "director"}, Verdict.WRONG_ROLE, "manager must decide, not director"),
        ({"role": "director", "escalated": True}, Verdict.COUNTS, ""),
        ({"escalated": True}, Verdict.COUNTS, ""),
        (
            {"role": "clerk", "escalated": True},
            Verdict.WRONG_ROLE,
            "director or manager must decide, not clerk",
        ),
        (
            {"approver": "bob"},
            Verdict.ENTERED_THE_ORDER,
            "who entered the order cannot approve it",
        ),
        ({"approver": "", "entered_by": ""}, Verdict.COUNTS, ""),
        ({"voters": ("ann",)}, Verdict.VOTED_BEFORE, "has already voted at this level"),
    ],
)
def test_a_vote_counts_or_says_why_not(
    changes: dict[str, Any], verdict: Verdict, reason: str
) -> None:
    ballot = vote(**changes)

    assert ballot == Ballot(verdict=verdict, reason=reason)
    assert ballot.counts == (verdict is Verdict.COUNTS)


def test_who_decided_another_level_is_told_that_another_person_must_decide() -> None:
    ballot = second_level(2, decided=1)

    assert not ballot.counts
    assert ballot.verdict is Verdict.DECIDED_ANOTHER_LEVEL
    assert ballot.reason == "has voted on level 1; another person must decide level 2"


def test_escalation_without_a_further_role_keeps_the_levels_own() -> None:
    alone = ApprovalRule(level=1, role="manager")

    assert vote(asked=alone, escalated=True).counts


def test_who_changed_an_order_is_told_that_another_must_approve_it() -> None:
    ballot = own_change()

    assert not ballot.counts
    assert ballot == Ballot(
        verdict=Verdict.ENTERED_THE_ORDER, reason="who changed the order cannot approve it"
    )
