"""What doms learned of its own deliveries: narrow lanes first, honest chances."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from domain.learned_dates import (
    Lane,
    LaneDays,
    LearnedDates,
    Shipment,
    confidence,
    destinations_of,
    learn_dates,
    option_confidence,
    transit_days,
    transits,
)
from domain.network import Place
from domain.orders import Method, ServiceLevel
from domain.routing.decision import Option, PlannedShipment, RequestGroup

START = datetime(2026, 1, 5, 6, tzinfo=UTC)
"""A Monday."""
WEST = Place(country="US", region="CA", latitude=34.0, longitude=-118.0, postal_code="90001")
EAST = Place(country="US", region="NY", latitude=40.7, longitude=-74.0, postal_code="10001")
NORTH = Place(country="US", region="WA", postal_code="98101")


def at(days: float) -> datetime:
    return START + timedelta(days=days)


def delivered_orders(count: int = 2_000, days: float = 120) -> Iterator[Shipment]:
    """From the west, to the west in about 2 days and to the east in about 6, from two nodes."""
    random = np.random.default_rng(3)
    for number in range(count):
        planned = at(days * number / count)
        far = bool(random.integers(0, 2))
        handed_over = planned + timedelta(days=float(random.lognormal(-1, 0.3)))
        transit = (6 if far else 2) * float(random.lognormal(0, 0.25))
        yield Shipment(
            node_id="A" if number % 50 else "B",
            service_id="ground",
            origin=WEST,
            destination=EAST if far else WEST,
            planned=planned,
            handed_over=handed_over,
            delivered=handed_over + timedelta(days=transit),
        )


@pytest.fixture(scope="module")
def learned() -> LearnedDates:
    found = learn_dates(delivered_orders(), frozenset(), at(120))
    assert found is not None
    return found


def of(learned: LearnedDates, node: str, to: Place, service: str = "ground") -> LaneDays:
    lane = learned.lane_of(node, service, WEST, to)
    assert lane is not None
    return lane


def test_what_was_learned_says_from_what(learned: LearnedDates) -> None:
    assert learned.learned_at == at(120)
    assert learned.first_planned == START
    assert 1_800 < learned.shipments < 2_000
    assert LearnedDates.model_validate_json(learned.model_dump_json()) == learned


def test_the_narrowest_lane_with_enough_shipments_answers(learned: LearnedDates) -> None:
    assert of(learned, "A", EAST).lane == Lane(
        node_id="A", service_id="ground", origin="US-CA", destination="US-NY"
    )
    # a thin node, an unknown node, and a region that nothing went to
    assert of(learned, "B", EAST).lane.node_id == ""
    assert of(learned, "unknown", EAST).lane.destination == "US-NY"
    assert of(learned, "A", NORTH).lane == Lane(service_id="ground")
    assert learned.lane_of("A", "express", WEST, EAST) is None


def test_a_date_is_surer_the_later_it_is_and_the_nearer_the_place(learned: LearnedDates) -> None:
    near, far = of(learned, "A", WEST), of(learned, "A", EAST)
    chances = [confidence(learned, far, at(121), at(121 + days)) for days in range(15)]
    assert chances == sorted(chances)
    assert chances[1] < 0.05
    assert chances[14] > 0.97
    assert confidence(learned, near, at(121), at(125)) > 0.8
    assert confidence(learned, far, at(121), at(125)) < 0.3
    assert confidence(learned, near, at(121), at(120)) == 0.0


def test_the_days_for_a_level_are_the_first_whose_confidence_reaches_it(
    learned: LearnedDates,
) -> None:
    far = of(learned, "A", EAST)
    days = transit_days(learned, far, at(121), 0.9)
    assert days is not None
    assert confidence(learned, far, at(121), at(121 + days)) >= 0.9
    assert confidence(learned, far, at(121), at(121 + days - 1)) < 0.9


def test_a_level_that_no_day_of_a_year_reaches_has_no_days(learned: LearnedDates) -> None:
    slow = of(learned, "A", EAST).model_copy(update={"centre": 9.0})
    assert transit_days(learned, slow, at(121), 0.9) is None


def test_confidence_is_kept_by_what_is_ordered_later(learned: LearnedDates) -> None:
    later = [one for one in delivered_orders(4_000, 240) if one.planned > at(120)]
    hit = []
    for one in later:
        lane = of(learned, one.node_id, one.destination)
        days = transit_days(learned, lane, one.planned, 0.9)
        assert days is not None
        assert one.delivered is not None
        hit.append((one.delivered.date() - one.planned.date()).days <= days)
    assert 0.85 < np.mean(hit) < 0.98


def option(*nodes: str, service_id: str | None = "ground", days: float = 5) -> Option:
    return Option(
        service_level=ServiceLevel.STANDARD,
        shipments=tuple(
            PlannedShipment(
                node_id=node,
                ship_group="1",
                method=Method.SHIP,
                service_id=service_id,
                assignments=(),
                work_date="2026-05-06",
                ship_at=at(121),
                deliver_at=at(121 + days),
                order_by=at(121),
                cost_micros=0,
            )
            for node in nodes
        ),
    )


def test_an_option_is_as_sure_as_all_its_shipments_together(learned: LearnedDates) -> None:
    origins, to_east = {"A": WEST, "B": WEST}, {"1": EAST}
    one = option_confidence(learned, option("A"), origins, to_east)
    other = option_confidence(learned, option("B"), origins, to_east)
    assert one is not None
    assert other is not None
    assert 0 < one < 1
    assert option_confidence(learned, option("A", "B"), origins, to_east) == pytest.approx(
        one * other
    )


def test_what_is_collected_or_was_never_learned_has_no_confidence(learned: LearnedDates) -> None:
    origins: dict[str, Place] = {"A": WEST}
    for unsure, destination in (
        (option("A", service_id=None), EAST),
        (option("A"), None),
        (option("A", service_id="express"), EAST),
        (option(), EAST),
    ):
        assert option_confidence(learned, unsure, origins, {"1": destination}) is None


def test_little_or_nothing_teaches_nothing() -> None:
    assert learn_dates([], frozenset(), at(120)) is None
    assert learn_dates(delivered_orders(100), frozenset(), at(120)) is None


def test_what_was_not_known_yet_teaches_nothing() -> None:
    assert learn_dates(delivered_orders(), frozenset(), at(10)) is None


def test_open_shipments_and_places_without_coordinates_are_learned_from(
    learned: LearnedDates,
) -> None:
    some = list(delivered_orders(1_500))
    lost = Shipment("A", "ground", NORTH, NORTH, at(119), None, None)
    found = learn_dates([*some, lost], frozenset({20_480}), at(120))
    assert found is not None
    assert found.holidays == (20_480,)
    assert len(found.lanes) >= 4


def test_lanes_to_a_place_say_the_days_of_each_weekday(learned: LearnedDates) -> None:
    found = transits(learned, [EAST, None], at(121), 0.9)
    again = transits(learned, [EAST], at(121), 0.9)

    assert found == again
    assert {(x.node_id, x.origin, x.destination) for x in found} == {
        ("", "", ""),
        ("", "US-CA", "US-NY"),
        ("A", "US-CA", "US-NY"),
    }
    narrow = next(x for x in found if x.node_id == "A")
    monday = START + timedelta(days=126, hours=6)
    assert narrow.days[0] == transit_days(learned, of(learned, "A", EAST), monday, 0.9)
    assert max(narrow.days) < max(next(x for x in found if not x.destination).days) + 10


def test_a_lane_whose_chance_is_never_reached_says_nothing(learned: LearnedDates) -> None:
    lanes = tuple(x.model_copy(update={"centre": 20.0}) for x in learned.lanes)
    endless = LearnedDates.model_validate(learned.model_dump() | {"lanes": lanes})

    assert transits(endless, [EAST], at(121), 0.9) == ()


def test_parcels_go_to_addresses_and_to_stores_that_are_known() -> None:
    groups = (
        RequestGroup(group_id="1", destination=EAST),
        RequestGroup(group_id="2", node_id="S", destination=None),
        RequestGroup(group_id="3", node_id="gone", destination=None),
    )

    assert destinations_of(groups, {"S": WEST}) == [EAST, None, None, WEST, None, None]
