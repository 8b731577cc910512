"""The ship step against carriers that keep what they sold, on a real database."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.testing import ActivityEnvironment

from activities.context import Context
from activities.ship import ShipActivities, ShipTask, VoidTask, cheapest_in_time
from domain.errors import OutsideUnavailableError, RefusedError
from domain.fulfillments import FulfillmentStatus, Package, PackageLine, PackageStatus
from domain.network import CarrierService, Network
from domain.orders import ServiceLevel
from domain.plans import FulfillmentView
from integrations.carrier.port import Carrier, Rate
from starter.parcel_poll import ParcelPoll
from store import fulfillments, labels, network, order_intake
from store.engine import reading, transaction
from tests.contract import easypost_account, ups_account
from tests.integration.store.builders import (
    NOW,
    a_node,
    a_plan,
    a_world,
    an_order,
    at,
    everything,
    fulfillments_of_plan,
    released_order,
)

Accounts = tuple[easypost_account.Account, ups_account.Account]


class Registry:
    """The carriers of the test by connection."""

    def __init__(self, carriers: Mapping[str, Carrier]) -> None:
        self._carriers = carriers

    def get(self, connection: Any) -> Carrier:
        return self._carriers[connection.connection_id]


@pytest.fixture
def accounts() -> Accounts:
    return easypost_account.Account(), ups_account.Account()


def a_service(service_id: str, connection_id: str, **changes: Any) -> CarrierService:
    facts = {
        "service_id": service_id,
        "connection_id": connection_id,
        "carrier": "Any",
        "level": ServiceLevel.STANDARD,
        "base": Decimal(5),
        "transit_days": 3,
    }
    return CarrierService.model_validate(facts | changes)


def a_task(engine: Engine, accounts: Accounts) -> tuple[ShipActivities, ShipTask]:
    """Order W-1 is packed at node A, whose services are EasyPost's GROUND and UPS's NEXT-DAY."""
    easypost, ups = accounts
    a_world(engine, {("A", "X"): 5})
    settings = {"sender": easypost_account.CONNECTION.settings["sender"]}
    connections = tuple(
        x.model_copy(update={"settings": {**x.settings, **settings}})
        for x in (easypost_account.CONNECTION, ups_account.CONNECTION)
    )
    services = (a_service("GROUND", "easypost-1"), a_service("NEXT-DAY", "ups-1", transit_days=1))
    names = ("GROUND", "NEXT-DAY")
    extended = Network(
        connections=connections, services=services, nodes=(a_node("A", services=names),)
    )
    with transaction(engine) as session:
        network.import_network(session, extended, (), NOW)
        order_intake.accept_order(session, an_order(), content_hash="h", entered_by="t", now=NOW)
    plan = released_order(engine, "W-1", ("A", "1", "X", 2))
    (order,) = fulfillments_of_plan("W-1", plan)
    carriers = Registry({"easypost-1": easypost.carrier(), "ups-1": ups.carrier()})
    context = Context(engine, Registry({}), carriers, api_url="http://doms.test")  # type: ignore[arg-type]
    view = FulfillmentView(
        fulfillment_id="W-1-1", order_id="W-1", revision=1, status=FulfillmentStatus.PACKED
    )
    package = Package(
        package_id="p1", lines=(PackageLine(line_id="1", quantity=2),), weight_grams=900
    )
    task = ShipTask(
        order=order.model_copy(update={"service_id": "GROUND"}),
        view=view,
        packages=(package,),
        connection_id=None,
        carrier_connection_id="easypost-1",
        at=NOW,
    )
    return ShipActivities(context), task


def ship(activities: ShipActivities, task: ShipTask) -> Package:
    (package,) = ActivityEnvironment().run(activities.ship, task).packages
    return package


def draft(engine: Engine) -> labels.LabelDraft | None:
    with reading(engine) as session:
        return labels.draft_of(session, "W-1-1", "W-1-1/p1/label")


def test_a_label_whose_answer_was_lost_is_found_and_bought_no_second_time(
    engine: Engine, accounts: Accounts
) -> None:
    easypost, _ = accounts
    activities, task = a_task(engine, accounts)
    easypost.lose_once("/buy")

    with pytest.raises(OutsideUnavailableError):
        ship(activities, task)
    kept = draft(engine)
    package = ship(activities, task)

    assert kept is not None
    assert (kept.connection_id, kept.service, kept.shipment_id) == ("easypost-1", "GROUND", "shp_1")
    assert package.tracking_number == "9400shp_1"
    assert package.cost == "6.07 USD"
    assert [x["id"] for x in easypost.bought] == ["shp_1"]
    assert len(easypost.shipments) == 1
    assert draft(engine) is None


def test_a_label_of_ups_whose_answer_was_lost_is_found_by_reference_with_its_picture(
    engine: Engine, accounts: Accounts
) -> None:
    _, ups = accounts
    activities, task = a_task(engine, accounts)
    task = task.model_copy(
        update={"order": task.order.model_copy(update={"service_id": "NEXT-DAY"})}
    )
    with transaction(engine) as session:
        only = Network(nodes=(a_node("A", services=("NEXT-DAY",)),))
        network.import_network(session, only, (), NOW)
    ups.lose_once("/ship")

    with pytest.raises(OutsideUnavailableError):
        ship(activities, task)
    package = ship(activities, task)

    assert len(ups.packages) == 1
    assert package.tracking_number in ups.packages
    base, _, token = (package.label_url or "").rpartition("/")
    assert base == "http://doms.test/v1/labels"
    with reading(engine) as session:
        picture = labels.label_image(session, token)
    assert (picture.media_type, picture.content) == ("image/gif", ups_account.LABEL)


def test_a_repeat_after_everything_was_stored_buys_nothing(
    engine: Engine, accounts: Accounts
) -> None:
    easypost, _ = accounts
    activities, task = a_task(engine, accounts)

    first, again = ship(activities, task), ship(activities, task)

    assert first == again
    assert len(easypost.bought) == 1


def test_when_the_address_changed_meanwhile_nothing_is_bought_for_the_old_one(
    engine: Engine, accounts: Accounts
) -> None:
    easypost, _ = accounts
    activities, task = a_task(engine, accounts)
    stale = labels.LabelDraft(
        connection_id="easypost-1", service="GROUND", shipment_id="shp_9", request_hash="old"
    )
    with transaction(engine) as session:
        labels.save_draft(session, "W-1-1", "W-1-1/p1/label", stale)

    package = ship(activities, task)

    assert package.shipment_id == "shp_1"
    assert [x["id"] for x in easypost.bought] == ["shp_1"]


def test_a_refused_label_leaves_no_draft_and_nothing_bought(
    engine: Engine, accounts: Accounts
) -> None:
    easypost, _ = accounts
    activities, task = a_task(engine, accounts)

    def sold_out(request: Any) -> None:
        if request.method == "GET":
            easypost.shipments["shp_1"]["rates"] = []

    easypost.before = sold_out

    with pytest.raises(RefusedError, match="no longer offers GROUND"):
        ship(activities, task)

    assert easypost.bought == []
    assert draft(engine) is None


def test_a_carrier_that_is_away_is_left_out_where_another_sells(
    engine: Engine, accounts: Accounts
) -> None:
    easypost, ups = accounts
    activities, task = a_task(engine, accounts)
    easypost.lose = lambda _: True

    package = ship(activities, task)

    assert package.tracking_number in ups.packages
    assert easypost.bought == []


def test_a_label_is_voided_where_it_was_bought(engine: Engine, accounts: Accounts) -> None:
    easypost, ups = accounts
    activities, task = a_task(engine, accounts)
    easypost.lose = lambda _: True
    package = ship(activities, task)
    void = VoidTask(
        order_id="W-1",
        fulfillment_id="W-1-1",
        carrier_connection_id="easypost-1",
        packages=(package,),
    )

    ActivityEnvironment().run(activities.void_labels, void)

    assert [x["type"] for x in ups.packages.values()] == ["MV"]
    with reading(engine) as session:
        (shown,) = fulfillments.packages(session, "W-1-1")
    assert shown.status is PackageStatus.VOIDED


def a_rate(service: str, cost: str, days: int | None) -> tuple[Rate, str]:
    rate = Rate.model_validate(
        {
            "service": service,
            "level": "standard",
            "carrier": "Any",
            "cost": cost,
            "currency": "USD",
            "delivery_days": days,
        }
    )
    return rate, "c"


SERVICES = (
    a_service("SLOW", "c", transit_days=5),
    a_service("PLAN", "c", transit_days=3),
    a_service("FAST", "c", transit_days=1, level=ServiceLevel.EXPRESS),
)
BY_DAYS = timedelta(days=1)
_PLAN = a_plan(("A", "1", "X", 1))


@pytest.mark.parametrize(
    ("rates", "deliver_by", "chosen"),
    [
        # The cheapest that arrives by the promised day, whatever its name.
        ((("SLOW", "1", 5), ("PLAN", "2", 3), ("FAST", "9", 1)), NOW + 5 * BY_DAYS, "SLOW"),
        ((("SLOW", "1", 5), ("PLAN", "2", 3), ("FAST", "9", 1)), NOW + 4 * BY_DAYS, "PLAN"),
        ((("SLOW", "1", 5), ("PLAN", "2", 3), ("FAST", "9", 1)), NOW + 2 * BY_DAYS, "FAST"),
        # Too late for all: the planned one, or else the fastest.
        ((("SLOW", "1", 5), ("PLAN", "2", 3), ("FAST", "9", 1)), NOW, "PLAN"),
        ((("SLOW", "1", 5), ("FAST", "9", 1)), NOW, "FAST"),
        # The carrier does not say, or nothing was promised: as fast as planned.
        ((("SLOW", "1", None), ("PLAN", "2", None)), NOW + 5 * BY_DAYS, "PLAN"),
        ((("SLOW", "1", 5), ("PLAN", "2", 3), ("FAST", "0", 1)), None, "PLAN"),
    ],
)
def test_the_cheapest_rate_that_keeps_the_promise_is_taken(
    rates: tuple[tuple[str, str, int | None], ...], deliver_by: datetime | None, chosen: str
) -> None:
    plan = fulfillments_of_plan("W-1", _PLAN)[0]
    order = plan.model_copy(update={"service_id": "PLAN", "deliver_by": deliver_by})

    rate, seller = cheapest_in_time([a_rate(*x) for x in rates], SERVICES, order, NOW)

    assert (rate.service, seller) == (chosen, "c")


def test_a_service_is_bought_only_from_its_own_carrier() -> None:
    rate, _ = a_rate("PLAN", "1", 3)
    order = fulfillments_of_plan("W-1", _PLAN)[0]

    with pytest.raises(RefusedError, match="none of its services"):
        cheapest_in_time([(rate, "another")], SERVICES, order, at(0))


def test_a_parcel_that_left_is_asked_for_and_each_step_is_kept_once(
    engine: Engine, accounts: Accounts
) -> None:
    easypost, ups = accounts
    activities, task = a_task(engine, accounts)
    easypost.lose = lambda _: True
    package = ship(activities, task)
    left = package.model_copy(update={"status": PackageStatus.SHIPPED})
    view = task.view.model_copy(update={"revision": 5, "packages": (left,)})
    carriers = Registry({"ups-1": ups.carrier()})
    woken: list[bool] = []
    poll = ParcelPoll(engine, carriers, lambda: woken.append(True), lambda: NOW)  # type: ignore[arg-type]
    before = poll.poll()
    with transaction(engine) as session:
        fulfillments.record_fulfillment(session, view, at(1))

    news = [poll.poll(), poll.poll()]

    assert (before, news, woken) == (0, [1, 0], [True])
    rows = [x for x in everything(engine)["messages"] if "tracked" in x]
    assert len(rows) == 1
    assert "W-1-1" in str(rows[0])
    assert "pre_transit" in str(rows[0])
