"""What delivery dates are learned from, and what was learned, in the database."""

from datetime import timedelta

from sqlalchemy import Engine

from domain.learned_dates import Lane, LaneDays, LearnedDates
from domain.plans import TimelineEntry
from store import delivery_dates, order_intake, sales_history, timeline
from store.delivery_dates import shipments
from store.engine import reading, transaction
from tests.integration.store.builders import NOW, a_world, an_order, at, released_order


def learned(minutes: float) -> LearnedDates:
    return LearnedDates(
        learned_at=at(minutes),
        shipments=3,
        first_planned=NOW,
        weekday_shares=(1.0,) * 7,
        deviations=(-1.0, 0.0, 1.0),
        lanes=(LaneDays(lane=Lane(service_id="ground"), shipments=3, centre=1.0, spread=0.2),),
    )


def shipped_order(engine: Engine, order_id: str) -> None:
    a_world(engine, {("A", "X"): 10})
    address = {
        "name": "Ada",
        "line1": "1 Main St",
        "city": "LA",
        "region": "CA",
        "postal_code": "90001",
        "country": "US",
    }
    order = an_order(order_id, ship_groups=[{"id": "1", "address": address}])
    with transaction(engine) as session:
        hashed = order_intake.content_hash(order)
        order_intake.accept_order(session, order, content_hash=hashed, entered_by="shop", now=NOW)
    released_order(engine, order_id, ("A", "1", "X", 2))


def told(order_id: str, kind: str, minutes: float) -> TimelineEntry:
    key = f"{order_id}-1/{kind}/{minutes:g}"
    return TimelineEntry(key=key, at=at(minutes), kind=kind, text=f"A: {kind}")


def test_a_shipment_left_with_its_first_units_and_arrived_with_its_last(engine: Engine) -> None:
    shipped_order(engine, "W-1")
    entries = [
        told("W-1", kind, minutes)
        for kind, minutes in (("shipped", 60), ("shipped", 90), ("delivered", 900))
    ]
    with transaction(engine) as session:
        timeline.note(session, "W-1", entries)
    with reading(engine) as session:
        [found] = shipments(session, NOW - timedelta(days=1))
    assert (found.node_id, found.units) == ("A", 2)
    assert (found.handed_over, found.delivered) == (at(60), at(900))
    assert (found.destination.region, found.destination.postal_code) == ("CA", "90001")
    assert "Ada" not in repr(found)


def test_a_shipment_under_way_has_no_times_yet_and_old_ones_are_left_out(engine: Engine) -> None:
    shipped_order(engine, "W-1")
    with reading(engine) as session:
        [found] = shipments(session, NOW - timedelta(days=1))
        assert (found.handed_over, found.delivered) == (None, None)
        assert list(shipments(session, at(60 * 24 * 30))) == []


def test_what_was_learned_last_is_the_answer_and_a_month_of_it_stays(engine: Engine) -> None:
    with reading(engine) as session:
        assert delivery_dates.latest(session) is None
    with transaction(engine) as session:
        for day in range(40):
            delivery_dates.keep(session, learned(day * 1_440))
        delivery_dates.keep(session, learned(39 * 1_440))
    with reading(engine) as session:
        assert delivery_dates.latest(session) == learned(39 * 1_440)
        assert delivery_dates.kept(session) == 30


def test_units_sold_are_those_a_node_was_asked_for_and_kept(engine: Engine) -> None:
    shipped_order(engine, "W-1")
    with reading(engine) as session:
        [(day, node_id, sku, units)] = sales_history.units_sold(session)
    assert (node_id, sku, units) == ("A", "X", 2)
    assert day == NOW.date()
