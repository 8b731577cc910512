"""How orders fare under a version, and the limits it must keep."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.guardrails import (
    Breach,
    Guardrail,
    Measure,
    PolicyCounts,
    breaches,
    cases,
    measure,
    measures,
    parse_guardrail,
)

COUNTS = PolicyCounts(
    orders=12,
    routed_orders=10,
    cost_micros=75_500_000,
    released_orders=8,
    split_orders=2,
    assigned_lines=30,
    rejected_lines=1,
    due_orders=4,
    missed_orders=1,
)


def test_measures_are_shares_of_the_orders_they_can_be_told_of() -> None:
    assert measures(COUNTS) == {
        "split_rate": "0.2500",
        "cost_per_order": "7.5500",
        "rejection_rate": "0.0333",
        "promise_miss_rate": "0.2500",
    }
    assert [cases(COUNTS, one) for one in Measure] == [8, 10, 30, 4]


def test_nothing_is_measured_where_nothing_happened() -> None:
    assert set(measures(PolicyCounts()).values()) == {None}


@pytest.mark.parametrize(
    ("text", "guardrail"),
    [
        ("split_rate<=0.25", Guardrail(measure=Measure.SPLIT_RATE, limit=Decimal("0.25"))),
        (
            " cost_per_order >= 3 ",
            Guardrail(measure=Measure.COST_PER_ORDER, limit=Decimal(3), is_most=False),
        ),
    ],
)
def test_a_guardrail_is_read_as_people_write_it(text: str, guardrail: Guardrail) -> None:
    assert parse_guardrail(text) == guardrail
    assert str(parse_guardrail(text)) == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("split_rate<0.25", "is no guardrail: write one as split_rate<=0.25"),
        ("split_rate<=many", "is no guardrail"),
        ("split_rate<=-1", "is no guardrail"),
        ("", "is no guardrail"),
        ("speed<=1", "'speed' is not measured: use split_rate, cost_per_order"),
    ],
)
def test_what_is_no_guardrail_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_guardrail(text)


def broken(text: str, minimum_orders: int = 1, counts: PolicyCounts = COUNTS) -> list[Breach]:
    return list(breaches([parse_guardrail(text)], counts, minimum_orders))


def test_a_guardrail_breaks_beyond_its_limit_and_not_at_it() -> None:
    assert broken("split_rate<=0.25") == []
    [breach] = broken("split_rate<=0.2499")
    assert (breach.value, breach.cases) == (Decimal("0.2500"), 8)
    assert broken("cost_per_order>=7.55") == []
    assert [x.value for x in broken("cost_per_order>=7.56")] == [Decimal("7.5500")]


def test_a_guardrail_counts_from_the_least_number_of_cases_on() -> None:
    assert broken("split_rate<=0.1", minimum_orders=9) == []
    assert len(broken("split_rate<=0.1", minimum_orders=8)) == 1
    assert broken("split_rate<=0.1", minimum_orders=0, counts=PolicyCounts()) == []


shares = st.decimals(0, 1, places=4)


@given(split=st.integers(0, 50), more=st.integers(0, 50), limit=shares, higher=shares)
def test_a_looser_guardrail_breaks_only_when_the_tighter_one_does(
    split: int, more: int, limit: Decimal, higher: Decimal
) -> None:
    low, high = sorted((limit, higher))
    counts = PolicyCounts(released_orders=split + more, split_orders=split)

    assert len(broken(f"split_rate<={high}", 1, counts)) <= len(
        broken(f"split_rate<={low}", 1, counts)
    )


@given(split=st.integers(0, 50), more=st.integers(0, 50))
def test_a_rate_lies_between_none_and_all(split: int, more: int) -> None:
    found = measure(
        PolicyCounts(released_orders=split + more, split_orders=split), Measure.SPLIT_RATE
    )

    assert found is None if split + more == 0 else 0 <= (found or 0) <= 1
