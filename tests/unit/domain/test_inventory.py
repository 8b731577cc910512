from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import IllegalTransitionError
from domain.inventory import Condition, Demand, Move, Position, sellable, snapshot_effect
from tests.unit.domain.builders import at


def position(**units: int) -> Position:
    return Position(node_id="N1", sku="A", **units)


def test_sellable_is_usable_less_all_that_is_spoken_for_or_kept_back() -> None:
    full = position(
        usable=100, damaged=7, quarantine=5, suspect=3,
        held=1, reserved=2, released=4, claimed=8, safety_stock=16, protected=32,
    )  # fmt: skip

    assert sellable(full) == 37
    assert full.spoken_for == 15
    assert full.physical == 115
    assert sellable(position(usable=1, reserved=3)) == -2
    assert position(usable=1, reserved=3).oversold == 2
    assert full.oversold == 0


def test_a_unit_is_reserved_released_and_leaves() -> None:
    start = position(usable=5)

    released = start.take(Demand.RESERVED, 3).shift(Demand.RESERVED, Demand.RELEASED, 3)
    assert (sellable(released), released.released) == (2, 3)
    left = released.consume(2).free(Demand.RELEASED, 1)
    assert left == position(usable=3)
    assert sellable(left) == 3
    broken = left.set_aside(Condition.DAMAGED, 1)
    assert (broken.usable, broken.damaged) == (2, 1)


@pytest.mark.parametrize(
    "refused",
    [
        lambda x: x.take(Demand.HELD, 2),
        lambda x: x.take(Demand.HELD, -1),
        lambda x: x.shift(Demand.HELD, Demand.RESERVED, 1),
        lambda x: x.free(Demand.RELEASED, 3),
        lambda x: x.consume(3),
        lambda x: x.set_aside(Condition.SUSPECT, 4),
    ],
)
def test_nothing_moves_that_is_not_there(refused: Callable[[Position], Position]) -> None:
    with pytest.raises(IllegalTransitionError):
        refused(position(usable=3, released=2))


def test_a_count_of_less_than_was_released_cannot_be_consumed() -> None:
    with pytest.raises(IllegalTransitionError, match="cannot move 2 usable units of A at N1: 1"):
        position(usable=1, released=2).consume(2)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Demand), st.integers(-1, 6))),
)
def test_stock_is_conserved_and_never_oversold(
    usable: int, steps: list[tuple[int, Demand, int]]
) -> None:
    now, gone = position(usable=usable), 0
    for step, demand, units in steps:
        moves: list[Callable[[], Position]] = [
            lambda: now.take(demand, units),  # noqa: B023
            lambda: now.free(demand, units),  # noqa: B023
            lambda: now.shift(demand, Demand.RELEASED, units),  # noqa: B023
            lambda: now.set_aside(Condition.SUSPECT, min(units, sellable(now))),  # noqa: B023
            lambda: now.consume(units),  # noqa: B023
            lambda: now.shift(demand, demand, units),  # noqa: B023
        ]
        try:
            after = moves[step]()
        except IllegalTransitionError:
            continue
        gone += now.usable - after.usable if step == 4 else 0
        now = after
        assert now.physical + gone == usable
        assert now.oversold == 0
        assert sellable(now) >= 0


def test_a_count_holds_as_of_its_time_and_later_moves_come_on_top() -> None:
    moves = [Move(at=at(8), delta=-5), Move(at=at(9), delta=-1), Move(at=at(10), delta=-2)]

    assert snapshot_effect(10, counted=12, counted_at=at(9), moves=moves) == 0
    assert snapshot_effect(10, counted=20, counted_at=at(9), moves=moves) == 8
    assert snapshot_effect(10, counted=1, counted_at=at(9), moves=moves) == -10
