"""Which activation holds for whom and when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.guardrails import parse_guardrail
from domain.orders import Order
from domain.policy_rollout import (
    Activation,
    Scope,
    Terms,
    Whose,
    in_force,
    is_in_share,
    reachable,
    whose_order,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
WHOSE = Whose(brand="acme", region="US", order_type="b2c", channel="web", unit="C-1")


def activation(number: int = 1, **fields: Any) -> Activation:
    return Activation.model_validate({"activation_id": number, "version": "v", **fields})


def holder(*activations: Activation, whose: Whose = WHOSE, now: datetime = NOW) -> int | None:
    found = in_force(activations, whose, now)
    return None if found is None else found.activation_id


@pytest.mark.parametrize(
    ("scope", "holds"),
    [
        ({}, True),
        ({"brand": "acme", "region": "US", "order_type": "b2c", "channel": "web"}, True),
        ({"brand": "other"}, False),
        ({"region": "EU"}, False),
        ({"order_type": "b2b"}, False),
        ({"channel": "store"}, False),
    ],
)
def test_an_activation_holds_where_every_part_of_its_scope_is_met(
    scope: dict[str, str], holds: bool
) -> None:
    assert activation(scope=scope).holds(WHOSE, NOW) is holds


def test_the_narrowest_scope_holds_then_the_latest() -> None:
    wide = activation(9)
    narrow = activation(1, scope={"brand": "acme"})
    later = activation(2, scope={"region": "US"})

    assert holder(wide) == 9
    assert holder(wide, narrow) == 1
    assert holder(later, wide, narrow) == 2
    assert holder() is None


def test_it_holds_from_its_start_until_before_its_end() -> None:
    one = activation(starts_at=NOW, ends_at=NOW + timedelta(hours=1))

    assert [one.is_on(NOW + timedelta(minutes=minutes)) for minutes in (-1, 0, 59, 60)] == [
        False,
        True,
        True,
        False,
    ]


def test_before_its_start_and_after_its_end_the_one_before_holds() -> None:
    trial = activation(2, starts_at=NOW, ends_at=NOW + timedelta(hours=1))
    held = [
        holder(activation(1), trial, now=NOW + timedelta(minutes=minutes))
        for minutes in (-1, 0, 60)
    ]

    assert held == [1, 2, 1]


def test_a_share_leaves_the_others_to_the_one_before() -> None:
    trial = activation(2, share=30)
    units = [f"C-{number}" for number in range(1_000)]

    held = [holder(activation(1), trial, whose=WHOSE.model_copy(update={"unit": u})) for u in units]

    # Of 1,000 draws with 30 %: 300, give or take five standard deviations of 14.5.
    assert 228 <= held.count(2) <= 372
    assert set(held) == {1, 2}


def test_several_shares_live_at_once_are_asked_from_the_latest() -> None:
    trials = (
        activation(1),
        activation(2, version="a", share=50),
        activation(3, version="b", share=50),
    )

    held = [
        holder(*trials, whose=WHOSE.model_copy(update={"unit": f"C-{number}"}))
        for number in range(1_000)
    ]

    assert all(200 <= held.count(number) <= 550 for number in (2, 3))
    assert 150 <= held.count(1) <= 350


def test_whoever_is_unknown_is_in_no_part_but_in_the_whole() -> None:
    assert [is_in_share("v", "", share) for share in (0, 99, 100)] == [False, False, True]


def test_an_end_before_the_start_and_a_share_beyond_the_whole_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be later than starts_at"):
        Terms(starts_at=NOW, ends_at=NOW)
    assert Terms(starts_at=NOW, ends_at=NOW + timedelta(seconds=1)).ends_at
    with pytest.raises(ValidationError, match="needs a guardrail"):
        Terms(rolls_back=True)
    assert Terms(rolls_back=True, guardrails=(parse_guardrail("split_rate<=0.2"),)).rolls_back
    for share in (-1, 101):
        with pytest.raises(ValidationError):
            activation(share=share)


def test_shares_are_drawn_by_customer_else_by_order() -> None:
    document = {
        "order_id": "W-1",
        "source": "shop",
        "external_id": "1",
        "brand": "acme",
        "region": "US",
        "channel": "web",
        "currency": "USD",
        "placed_at": NOW,
        "ship_groups": [{"id": "1", "address": {"country": "US"}}],
        "lines": [{"line_id": "1", "sku": "TEE", "quantity": 1, "unit_price": "1"}],
    }
    known = Order.model_validate({**document, "customer": {"customer_id": "C-1"}})

    assert whose_order(known) == WHOSE
    assert whose_order(Order.model_validate(document)).unit == "W-1"


def test_a_scopes_parts_are_counted() -> None:
    assert Scope(brand="a", channel="b").parts == 2


ids = st.text(min_size=1, max_size=20)


@given(version=ids, unit=ids, share=st.integers(0, 100), more=st.integers(0, 100))
def test_raising_a_share_only_adds_customers(
    version: str, unit: str, share: int, more: int
) -> None:
    low, high = sorted((share, more))

    assert is_in_share(version, unit, low) <= is_in_share(version, unit, high)
    assert not is_in_share(version, unit, 0)
    assert is_in_share(version, unit, 100)


def test_a_draw_stays_as_it_was_when_first_released() -> None:
    drawn = [unit for unit in ("C-1", "C-2", "C-3", "C-4") if is_in_share("routing-1", unit, 50)]

    assert drawn == ["C-1", "C-2", "C-3"]


def test_an_activation_is_whole_when_it_is_on_for_every_order_of_its_scope() -> None:
    assert activation().is_whole(NOW)
    assert not activation(share=99).is_whole(NOW)
    assert not activation(starts_at=NOW + timedelta(hours=1)).is_whole(NOW)


def test_what_an_activation_for_everybody_hides_is_not_reached() -> None:
    hidden = activation(1)
    whole = activation(2)
    later = activation(3, starts_at=NOW + timedelta(hours=1))
    ending = activation(4, ends_at=NOW + timedelta(hours=1))
    part = activation(5, share=10)
    narrow = activation(0, scope={"brand": "acme"}, share=10)

    found = reachable([narrow, part, ending, later, whole, hidden], NOW)

    assert [one.activation_id for one in found] == [0, 5, 4, 3, 2]
    assert reachable([], NOW) == []


activations = st.lists(
    st.builds(
        Activation,
        activation_id=st.integers(1, 1_000),
        version=st.sampled_from(["a", "b"]),
        scope=st.builds(Scope, brand=st.sampled_from([None, "acme"])),
        share=st.sampled_from([0, 50, 100]),
        starts_at=st.none() | st.sampled_from([NOW, NOW + timedelta(hours=1)]),
        ends_at=st.none() | st.sampled_from([NOW, NOW + timedelta(hours=2)]),
    ),
    unique_by=lambda one: one.activation_id,
)


@given(live=activations, unit=ids, minutes=st.integers(0, 180))
def test_what_is_not_reached_never_holds_from_then_on(
    live: list[Activation], unit: str, minutes: int
) -> None:
    whose = WHOSE.model_copy(update={"unit": unit})
    later = NOW + timedelta(minutes=minutes)

    ordered = sorted(live, key=lambda one: one.rank, reverse=True)

    assert in_force(live, whose, later) == in_force(reachable(ordered, NOW), whose, later)
