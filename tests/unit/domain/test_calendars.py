from datetime import UTC, date, datetime, time, timedelta
from math import degrees
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.calendars import calendar_of
from domain.geo import EARTH_RADIUS_KM, haversine_km
from domain.network import Node, Place, WorkingHours
from domain.routing.decision import CapacityLeft, PlannedShipment
from domain.routing.solve import decide
from tests.unit.domain.builders import (
    HERE,
    group,
    line,
    node,
    plan_of,
    policy,
    request,
    service,
    snapshot,
)

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


def planned(
    site: Node,
    release: datetime,
    pickup_at: time = time(17),
    transit_days: int = 2,
    destination: Place = HERE,
    capacity: tuple[CapacityLeft, ...] = (),
) -> PlannedShipment | None:
    """One unit released then from that node; None: it is never worked on, packed or collected."""
    carrier = service(pickup_at=pickup_at, transit_days=transit_days)
    facts = snapshot((site,), {"A": {"N1": 1}}, services=(carrier,), capacity=capacity)
    asked = request(
        line("1", "A"), now=release.astimezone(UTC), groups=(group(destination=destination),)
    )
    return next(iter(plan_of(decide(asked, facts, policy())).shipments), None)


def shipped(site: Node, release: datetime, **changes: Any) -> PlannedShipment:
    found = planned(site, release, **changes)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        (local(2, 14), "2026-03-02"),
        (local(2, 14, 1), "2026-03-03"),
        (local(6, 15), "2026-03-09"),
        (local(7, 9), "2026-03-09"),
        (local(10, 23, 30), "2026-03-12"),
    ],
)
def test_an_order_is_worked_on_by_cutoff_weekday_and_holiday_of_the_nodes_zone(
    release: datetime, expected: str
) -> None:
    closed_on_wednesday = place(holidays=(date(2026, 3, 11),))

    assert shipped(closed_on_wednesday, release).work_date == expected


def test_nothing_is_worked_on_after_closing_even_before_the_cutoff() -> None:
    early = place(cutoff=time(20), closes=time(18))

    assert shipped(early, local(2, 18)).work_date == "2026-03-02"
    assert shipped(early, local(2, 18, 1)).work_date == "2026-03-03"


def test_a_node_that_never_works_sends_nothing() -> None:
    never = place(days=())

    assert planned(never, local(2, 9)) is None
    assert calendar_of(never).order_by(local(2, 9)) is None


def test_a_full_node_works_on_the_next_work_day_over_the_weekend() -> None:
    full = tuple(
        CapacityLeft(node_id="N1", work_date=day, units=0, orders=0)
        for day in ("2026-03-05", "2026-03-06")
    )

    assert shipped(place(), local(5, 9), capacity=full).work_date == "2026-03-09"


def test_work_starts_at_opening_and_goes_on_the_next_work_day() -> None:
    eleven_hours = place(processing_minutes=11 * 60)

    # 10 hours on Friday from 8:00 on and one on Monday: packed at 9:00
    assert shipped(eleven_hours, local(6, 6), pickup_at=time(9)).ship_at == local(9, 9)
    assert shipped(eleven_hours, local(6, 6), pickup_at=time(8, 59)).ship_at == local(10, 8, 59)


def test_a_node_with_too_few_hours_never_gets_ready() -> None:
    minute = place(processing_minutes=1_000, opens=time(8), closes=time(8, 1), days=(0,))

    assert planned(minute, local(2, 8)) is None


def test_work_that_no_later_day_can_finish_is_never_ready() -> None:
    all_days = tuple(date(2026, 3, 3) + timedelta(days=n) for n in range(1_000))

    assert planned(place(processing_minutes=1_000, holidays=all_days), local(2, 8)) is None


def test_the_carrier_collects_the_same_day_or_the_next_work_day() -> None:
    assert shipped(place(processing_minutes=9 * 60), local(6, 8)).ship_at == local(6, 17)
    assert shipped(place(processing_minutes=9 * 60 + 1), local(6, 8)).ship_at == local(9, 17)


def test_daylight_saving_moves_utc_times_and_not_wall_clocks() -> None:
    every_day = place(days=(0, 1, 2, 3, 4, 5, 6))

    assert shipped(every_day, local(7, 9)).ship_at == datetime(2026, 3, 7, 22, tzinfo=UTC)
    assert shipped(every_day, local(8, 9)).ship_at == datetime(2026, 3, 8, 21, tzinfo=UTC)


def test_the_night_of_the_clock_change_has_an_hour_less_to_work() -> None:
    night = place(
        processing_minutes=8 * 60,
        days=(0, 1, 2, 3, 4, 5, 6),
        opens=time(22),
        closes=time(6),
        cutoff=time(22),
    )

    assert shipped(night, local(6, 12), pickup_at=time(6)).ship_at == local(7, 6)
    assert shipped(night, local(7, 12), pickup_at=time(23)).ship_at == local(8, 23)
    assert shipped(night, local(7, 12), pickup_at=time(22, 59)).ship_at == local(9, 22, 59)


def test_a_parcel_counts_as_delivered_at_the_end_of_its_day() -> None:
    assert shipped(place(), local(2, 9)).deliver_at == local(4, 20)
    late = shipped(place(), local(2, 9), pickup_at=time(21), transit_days=0)
    assert (late.ship_at, late.deliver_at) == (local(2, 21), local(2, 21))


@pytest.mark.parametrize(("km", "days"), [(0, 2), (800, 2), (801, 3), (1600, 3), (1601, 4)])
def test_transit_grows_by_a_day_for_each_stretch_begun(km: int, days: int) -> None:
    south = degrees((km - 0.3) / EARTH_RADIUS_KM) if km else 0.0
    away = Place(latitude=40.0 - south, longitude=-75.0, region="US-PA", country="US")

    found = shipped(place(), local(2, 9), destination=away)

    assert found.distance_km == km
    assert found.deliver_at == local(2 + days, 20)


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
def sites(draw: st.DrawFn) -> Node:
    opens, closes = sorted([draw(hours_of_day), draw(hours_of_day)])
    return node(
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


moments = st.datetimes(datetime(2026, 5, 1), datetime(2026, 5, 30)).map(  # noqa: DTZ001
    lambda x: x.replace(tzinfo=UTC)
)


@settings(max_examples=60, deadline=None)
@given(sites(), moments)
def test_order_by_is_the_latest_release_that_leaves_with_the_same_pickup(
    site: Node, release: datetime
) -> None:
    found = planned(site, release)
    if found is None:
        return

    assert found.order_by is not None
    assert release <= found.order_by <= found.ship_at
    assert shipped(site, found.order_by).ship_at == found.ship_at
    later = planned(site, found.order_by.replace(microsecond=0) + timedelta(seconds=1))
    assert later is None or later.ship_at > found.ship_at


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-90, 90), st.floats(-180, 180)] * 2))
def test_a_parcel_goes_the_great_circle_in_whole_kilometers(
    points: tuple[float, float, float, float],
) -> None:
    start, end = (
        Place(latitude=latitude, longitude=longitude, region="US-PA", country="US")
        for latitude, longitude in (points[:2], points[2:])
    )

    found = shipped(node("N1", place=start), local(2, 9), destination=end)

    assert found.distance_km == pytest.approx(haversine_km(*points), abs=0.501)


def test_distances_on_the_globe_are_great_circles() -> None:
    assert haversine_km(52.52, 13.405, 48.8566, 2.3522) == pytest.approx(877.46, abs=0.1)
    assert haversine_km(0, 0, 0, 180) == pytest.approx(20015.11, abs=0.1)
    assert haversine_km(10, 20, 10, 20) == 0
