from domain.inventory import Position


def position(**units: int) -> Position:
    return Position(node_id="N1", sku="A", **units)


def test_sellable_is_usable_less_all_that_is_spoken_for_or_kept_back() -> None:
    full = position(
        usable=100, damaged=7, quarantine=5, suspect=3,
        held=1, reserved=2, released=4, claimed=8, safety_stock=16, protected=32,
    )  # fmt: skip

    assert full.sellable == 37
    assert full.spoken_for == 15


def test_a_count_of_less_than_was_given_away_leaves_less_than_nothing_to_sell() -> None:
    assert position(usable=1, reserved=3).sellable == -2
