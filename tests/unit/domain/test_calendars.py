from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.calendars import Calendar, calendar_of, transit_days
from domain.geo import distance_km, haversine_km, unit_vector
from domain.network import Node, WorkingHours
from tests.unit.domain.builders import node, service

NEW_YORK = ZoneInfo("America/New_York")


def place(processing_minutes: int = 120, **hours: object) -> Node:
    return node(
        "N1",
        time_zone="America/New_York",
        hours=WorkingHours.model_validate(hours),
        processing_minutes=processing_minutes,
    )


def local(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=NEW_YORK)


def known(moment: datetime | None) -> datetime:
    assert moment is not None
    return moment


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        (local(2, 14), date(2026, 3, 2)),
        (local(2, 14, 1), date(2026, 3, 3)),
        (local(6, 15), date(2026, 3, 9)),
        (local(7, 9), date(2026, 3, 9)),
        (local(10, 23, 30), date(2026, 3, 12)),
    ],
)
def test_an_order_is_worked_on_by_cutoff_weekday_and_holiday_of_the_nodes_zone(
    release: datetime, expected: date
) -> None:
    calendar = calendar_of(place(holidays=(date(2026, 3, 11),)))

    assert calendar.work_date(release.astimezone(UTC)) == expected


def test_nothing_is_worked_on_after_closing_even_before_the_cutoff() -> None:
    calendar = calendar_of(place(cutoff=time(20), closes=time(18)))

    assert calendar.work_date(local(2, 18)) == date(2026, 3, 2)
    assert calendar.work_date(local(2, 18, 1)) == date(2026, 3, 3)


def test_a_node_that_never_works_has_no_date() -> None:
    calendar = calendar_of(place(days=()))

    assert calendar.work_date(local(2, 9)) is None
    assert calendar.work_dates(local(2, 9), 3) == []
    assert calendar.pickup_after(local(2, 9), time(17)) is None
    assert calendar.order_by(local(2, 9)) is None


def test_work_days_are_listed_over_the_weekend() -> None:
    calendar = calendar_of(place())

    assert calendar.work_dates(local(5, 9), 3) == [
        date(2026, 3, 5),
        date(2026, 3, 6),
        date(2026, 3, 9),
    ]


def test_work_starts_at_opening_and_goes_on_the_next_work_day() -> None:
    calendar = calendar_of(place(processing_minutes=11 * 60))

    ready = calendar.ready_at(date(2026, 3, 6), local(6, 6).astimezone(UTC))

    assert ready == local(9, 9)


def test_a_node_with_too_few_hours_never_gets_ready() -> None:
    minute = place(processing_minutes=1_000, opens=time(8), closes=time(8, 1), days=(0,))

    assert calendar_of(minute).ready_at(date(2026, 3, 2), local(2, 8)) is None


def test_work_that_no_later_day_can_finish_is_never_ready() -> None:
    all_days = tuple(date.fromordinal(date(2026, 3, 3).toordinal() + n) for n in range(500))
    calendar = calendar_of(place(processing_minutes=1_000, holidays=all_days))

    assert calendar.ready_at(date(2026, 3, 2), local(2, 8)) is None
    assert calendar.pickup_after(local(2, 18), time(17)) is None


def test_the_carrier_collects_the_same_day_or_the_next_work_day() -> None:
    calendar = calendar_of(place())

    assert calendar.pickup_after(local(6, 17), time(17)) == local(6, 17)
    assert calendar.pickup_after(local(6, 17, 1), time(17)) == local(9, 17)


def test_daylight_saving_moves_utc_times_and_not_wall_clocks() -> None:
    calendar = calendar_of(place(days=(0, 1, 2, 3, 4, 5, 6)))

    before = calendar.pickup_after(local(7, 9).astimezone(UTC), time(17))
    after = calendar.pickup_after(local(8, 9).astimezone(UTC), time(17))

    assert before == datetime(2026, 3, 7, 22, tzinfo=UTC)
    assert after == datetime(2026, 3, 8, 21, tzinfo=UTC)


def test_the_night_of_the_clock_change_has_an_hour_less_to_work() -> None:
    night = place(
        processing_minutes=8 * 60,
        days=(0, 1, 2, 3, 4, 5, 6),
        opens=time(22),
        closes=time(6),
        cutoff=time(22),
    )
    calendar = calendar_of(night)

    assert calendar.ready_at(date(2026, 3, 6), local(6, 12)) == local(7, 6)
    assert calendar.ready_at(date(2026, 3, 7), local(7, 12)) == local(8, 23)


def test_a_parcel_counts_as_delivered_at_the_end_of_its_day() -> None:
    calendar = calendar_of(place())

    assert calendar.delivered_at(local(2, 17), 2) == local(4, 20)
    assert calendar.delivered_at(local(2, 21), 0) == local(2, 21)


@pytest.mark.parametrize(("km", "days"), [(0, 2), (800, 2), (801, 3), (1600, 3), (1601, 4)])
def test_transit_grows_by_a_day_for_each_stretch_begun(km: int, days: int) -> None:
    assert transit_days(service(), km) == days


def test_one_can_order_until_the_cutoff_or_until_work_no_longer_fits_before_the_pickup() -> None:
    assert calendar_of(place(processing_minutes=60)).order_by(local(2, 17)) == local(2, 14)
    assert calendar_of(place(processing_minutes=300)).order_by(local(2, 17)) == local(2, 12)
    assert calendar_of(place(processing_minutes=660)).order_by(local(2, 17)) == datetime(
        2026, 2, 27, 14, tzinfo=NEW_YORK
    )
    assert calendar_of(place(processing_minutes=60)).order_by(local(2, 7)) == datetime(
        2026, 2, 27, 14, tzinfo=NEW_YORK
    )


hours_of_day = st.builds(time, st.integers(0, 23), st.sampled_from([0, 30]))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    opens, closes = sorted([draw(hours_of_day), draw(hours_of_day)])
    return calendar_of(
        node(
            "N1",
            time_zone=draw(st.sampled_from(["America/New_York", "Asia/Tokyo", "UTC"])),
            processing_minutes=draw(st.integers(0, 900)),
            hours=WorkingHours(
                days=tuple(draw(st.sets(st.integers(0, 6), min_size=1))),
                opens=opens,
                closes=closes,
                cutoff=draw(st.sampled_from([time(6), time(12), time(14), time(22)])),
                holidays=tuple(draw(st.sets(st.dates(date(2026, 5, 1), date(2026, 5, 20))))),
            ),
        )
    )


moments = st.datetimes(datetime(2026, 5, 1), datetime(2026, 5, 30)).map(  # noqa: DTZ001
    lambda x: x.replace(tzinfo=UTC)
)


def ship(calendar: Calendar, release: datetime) -> datetime | None:
    day = calendar.work_date(release)
    assert day is not None
    ready = calendar.ready_at(day, release)
    return None if ready is None else known(calendar.pickup_after(ready, time(17)))


@settings(max_examples=120, deadline=None)
@given(calendars(), moments)
def test_order_by_is_the_latest_release_that_leaves_with_the_same_pickup(
    calendar: Calendar, release: datetime
) -> None:
    ship_at = ship(calendar, release)
    if ship_at is None:
        return

    order_by = known(calendar.order_by(ship_at))

    assert release <= order_by <= ship_at
    assert ship(calendar, order_by) == ship_at
    later = ship(calendar, order_by.replace(microsecond=0) + (datetime.resolution * 1_000_000))
    assert later is None or later > ship_at


@given(st.tuples(*[st.floats(-90, 90), st.floats(-180, 180)] * 2))
def test_distances_by_vectors_agree_with_haversine(
    points: tuple[float, float, float, float],
) -> None:
    a, b = unit_vector(*points[:2]), unit_vector(*points[2:])

    assert distance_km(a, b) == pytest.approx(haversine_km(*points), abs=1e-3)


def test_distances_on_the_globe_are_great_circles() -> None:
    assert haversine_km(52.52, 13.405, 48.8566, 2.3522) == pytest.approx(877.46, abs=0.1)
    assert haversine_km(0, 0, 0, 180) == pytest.approx(20015.11, abs=0.1)
    assert haversine_km(10, 20, 10, 20) == 0
