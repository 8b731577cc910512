"""A subscriber hears the whole life of an order from a running doms."""

from collections.abc import Iterator

import pytest

from tests.e2e.system import PERSONAL, Doms, order, wait_for
from tests.integration.events.receiver import Receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def heard(receiver: Receiver, order_id: str) -> list[str]:
    """Types of the order's events, in the order in which they arrived."""
    return [what for about, what in receiver.heard if about == order_id]


def test_a_subscriber_hears_an_orders_life_in_its_order_and_nothing_personal(
    doms: Doms, receiver: Receiver
) -> None:
    # given
    made = doms.ask("subscriptions", url=receiver.url)
    try:
        # when
        doms.accept(order("E-told", ("TEE-BLACK-M", 2)))
        doms.completed("E-told")
        wait_for(lambda: "order.completed" in heard(receiver, "E-told"), "the last event")
    finally:
        doms.http.delete(f"{doms.addresses.api}/v1/subscriptions/{made['subscription_id']}")
    # then
    told = [x for x in heard(receiver, "E-told") if x != "package.out_for_delivery"]
    assert [x for x in told if x.startswith("order.")] == [
        "order.accepted",
        "order.promised",
        "order.reserved",
        "order.released",
        "order.completed",
    ]
    assert [x for x in told if x.startswith("package.")] == [
        "package.shipped",
        "package.delivered",
    ]
    assert told.index("package.shipped") < told.index("fulfillment.shipped")
    (parcel,) = [x for x in receiver.got if x.what == ("E-told", "package.shipped")]
    (package,) = doms.page("E-told")["fulfillments"][0]["packages"]
    assert parcel.document["data"]["package"]["tracking_number"] == package["tracking_number"]
    assert all(x.is_signed_with(made["secret"]) for x in receiver.got)
    assert len({x.event_id for x in receiver.got}) == len(receiver.got)
    said = b"".join(x.body for x in receiver.got).decode()
    assert [fact for fact in PERSONAL if fact in said] == []
