import pytest

from domain.errors import OutsideUnavailableError, RefusedError, UnknownReferenceError
from domain.events import CarrierStatus, NodeEvent, NodeEventType
from domain.fulfillments import Package, PackageLine
from integrations.carrier.port import Carrier, ShipmentRequest
from integrations.node_system import CancelReply, CancelReplyOutcome, NodeSystem
from integrations.registry import NodeSystems
from integrations.threepl.port import ThirdPartyWarehouse
from integrations.webhooks import translate, verify
from tests.integration.outside.world import (
    HTTP,
    SECRET,
    SECRETS,
    Receiver,
    Simulator,
    address,
    free_port,
    handover,
    wait_until,
)

CANCELLED = CancelReplyOutcome.CANCELLED


def labelled(
    carrier: Carrier, reference: str, packages: tuple[Package, ...]
) -> tuple[Package, ...]:
    done = []
    for package in packages:
        request = ShipmentRequest(
            reference=f"{reference}/{package.package_id}",
            fulfillment_id=reference,
            node_id="DC-1",
            ship_to=address(),
            weight_grams=package.weight_grams,
        )
        label = carrier.buy(request, "standard", key=f"{package.package_id}/label")
        done.append(
            package.model_copy(
                update={
                    "tracking_number": label.tracking_number,
                    "shipment_id": label.shipment_id,
                    "carrier": label.carrier,
                    "label_url": label.label_url,
                }
            )
        )
    return tuple(done)


def packages_of(system: NodeSystem, reference: str) -> tuple[Package, ...]:
    return next(x for x in system.events_of(reference) if x.type is NodeEventType.PACKED).packages


def test_a_release_is_done_once_however_often_it_is_sent(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    first = warehouse.release(handover(reference, 2))

    again = [warehouse.release(handover(reference, 2)) for _ in range(3)]

    assert (first.acknowledged, first.ships_itself) == (True, False)
    assert again == [first, first, first]
    assert wms.done(reference).count("order_created") == 1


def test_a_warehouse_picks_packs_waits_for_labels_and_the_carrier_delivers(
    wms: Simulator,
    carrier: Simulator,
    warehouse: NodeSystem,
    parcel_service: Carrier,
    receiver: Receiver,
    reference: str,
) -> None:
    warehouse.release(handover(reference, 2, 1))
    receiver.wait_for(reference, "order.packed")

    packages = labelled(parcel_service, reference, packages_of(warehouse, reference))
    warehouse.attach_labels(reference, packages)
    warehouse.attach_labels(reference, packages)

    receiver.wait_for(reference, "delivered")
    assert receiver.told(reference) == [
        "order.picked",
        "order.packed",
        "order.handed_over",
        "in_transit",
        "out_for_delivery",
        "delivered",
    ]
    assert [package.lines for package in packages] == [
        (PackageLine(line_id="1", quantity=2), PackageLine(line_id="2", quantity=1))
    ]
    assert packages[0].weight_grams == 600
    assert wms.done(reference) == [
        "order_created",
        "order_picked",
        "order_packed",
        "labels_attached",
        "order_handed_over",
    ]
    assert carrier.done(reference) == ["label_bought", "parcel_picked_up", "parcel_delivered"]


def test_every_callback_is_signed_and_translates_to_what_the_node_lists(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    warehouse.release(handover(reference, 1))
    deliveries = receiver.wait_for(reference, "order.packed")

    told = []
    for delivery in deliveries:
        assert delivery.path == "/v1/webhooks/wms-test"
        delivery_id = verify(wms.connection(), SECRET, delivery.headers, delivery.raw)
        (event,) = translate(wms.connection(), delivery.raw)
        assert isinstance(event, NodeEvent)
        assert delivery_id == event.event_id
        told.append(event)

    assert tuple(told) == warehouse.events_of(reference)


def test_without_labels_nothing_is_handed_over(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    warehouse.release(handover(reference, 1))
    receiver.wait_for(reference, "order.packed")

    with pytest.raises(RefusedError, match="no package other-p1 in this order"):
        warehouse.attach_labels(reference, (Package(package_id="other-p1", tracking_number="T"),))

    assert wms.done(reference)[-1] == "order_packed"
    assert wms.get(f"/orders/{reference}")["status"] == "packed"


def test_a_store_accepts_later_and_serves_a_pickup(
    pos: Simulator, store: NodeSystem, receiver: Receiver, reference: str
) -> None:
    receipt = store.release(handover(reference, 1, method="pickup", node_id="STORE-1"))

    receiver.wait_for(reference, "order.collected")
    assert not receipt.acknowledged
    assert receiver.told(reference) == [
        "order.acknowledged",
        "order.picked",
        "order.ready_for_pickup",
        "order.collected",
    ]
    assert pos.done(reference)[-1] == "order_collected"


def test_a_pickup_nobody_collects_goes_back_on_the_shelf(
    pos: Simulator, store: NodeSystem, receiver: Receiver, reference: str
) -> None:
    pos.turn_for(reference, no_show_rate=1)
    store.release(handover(reference, 1, method="pickup"))
    receiver.wait_for(reference, "order.ready_for_pickup")

    store.pickup_expired(reference)
    store.pickup_expired(reference)

    assert pos.done(reference).count("back_on_shelf") == 1
    assert "order.collected" not in receiver.told(reference)


def test_a_store_that_ships_hands_its_parcel_to_the_carrier(
    pos: Simulator,
    carrier: Simulator,
    store: NodeSystem,
    parcel_service: Carrier,
    receiver: Receiver,
    reference: str,
) -> None:
    store.release(handover(reference, 1, node_id="STORE-1"))
    receiver.wait_for(reference, "order.packed")

    store.attach_labels(
        reference, labelled(parcel_service, reference, packages_of(store, reference))
    )

    receiver.wait_for(reference, "delivered")
    assert receiver.told(reference)[0] == "order.acknowledged"
    assert carrier.done(reference)[-1] == "parcel_delivered"


def test_a_third_party_ships_itself_in_several_packages(
    threepl: Simulator, third_party: ThirdPartyWarehouse, receiver: Receiver, reference: str
) -> None:
    threepl.turn(units_per_package=4)

    receipt = third_party.release(handover(reference, 9, 1, node_id="3PL-1"))

    receiver.wait_for(reference, "delivered", times=4)
    packages = packages_of(third_party, reference)
    assert (receipt.acknowledged, receipt.ships_itself) == (True, True)
    assert [[(x.line_id, x.quantity) for x in package.lines] for package in packages] == [
        [("1", 4)],
        [("1", 4)],
        [("1", 1)],
        [("2", 1)],
    ]
    assert len({package.tracking_number for package in packages}) == 4
    assert receiver.told(reference)[:3] == ["order.picked", "order.packed", "order.handed_over"]
    for package in packages:
        assert package.tracking_number is not None
        assert [event.status for event in third_party.track(package.tracking_number)] == [
            CarrierStatus.IN_TRANSIT,
            CarrierStatus.OUT_FOR_DELIVERY,
            CarrierStatus.DELIVERED,
        ]


def test_a_small_order_of_a_third_party_is_one_package(
    third_party: ThirdPartyWarehouse, receiver: Receiver, reference: str
) -> None:
    third_party.release(handover(reference, 3))

    receiver.wait_for(reference, "delivered")
    assert len(packages_of(third_party, reference)) == 1


def test_a_wrong_api_key_is_refused(threepl: Simulator, reference: str) -> None:
    wrong = NodeSystems({"OUTSIDE_API_KEY": "wrong"}).get(
        threepl.connection(api_key_env="OUTSIDE_API_KEY")
    )

    with pytest.raises(RefusedError, match="answered 401: send Authorization"):
        wrong.release(handover(reference, 1))

    assert threepl.done(reference) == []


def test_a_cancel_before_packing_is_granted_once_and_the_work_stops(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, step_seconds={"pick": 1000})
    warehouse.release(handover(reference, 2, 1))

    replies = [
        warehouse.request_cancel(reference, "c-1", None, "customer changed their mind")
        for _ in range(2)
    ]

    granted = CancelReply(
        outcome=CANCELLED,
        lines=(PackageLine(line_id="1", quantity=2), PackageLine(line_id="2", quantity=1)),
    )
    assert replies == [granted, granted]
    assert wms.done(reference) == ["order_created", "order_cancelled"]
    assert receiver.told(reference) == []


def test_a_cancel_of_some_units_leaves_the_others_to_be_shipped(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, step_seconds={"pick": 100})
    warehouse.release(handover(reference, 3, 1))

    first = warehouse.request_cancel(
        reference, "c-1", (PackageLine(line_id="1", quantity=2),), "fewer"
    )
    second = warehouse.request_cancel(
        reference, "c-2", (PackageLine(line_id="2", quantity=5),), "none of these"
    )

    assert first == CancelReply(outcome=CANCELLED, lines=(PackageLine(line_id="1", quantity=2),))
    assert second == CancelReply(outcome=CANCELLED, lines=(PackageLine(line_id="2", quantity=1),))
    receiver.wait_for(reference, "order.packed")
    assert packages_of(warehouse, reference)[0].lines == (PackageLine(line_id="1", quantity=1),)


def test_a_cancel_after_packing_is_too_late_and_stops_nothing(
    wms: Simulator,
    warehouse: NodeSystem,
    parcel_service: Carrier,
    receiver: Receiver,
    reference: str,
) -> None:
    warehouse.release(handover(reference, 1))
    receiver.wait_for(reference, "order.packed")

    reply = warehouse.request_cancel(reference, "c-1", None, "too slow")

    assert reply == CancelReply(outcome=CancelReplyOutcome.TOO_LATE)
    assert "order_cancelled" not in wms.done(reference)
    warehouse.attach_labels(
        reference, labelled(parcel_service, reference, packages_of(warehouse, reference))
    )
    receiver.wait_for(reference, "order.handed_over")


def test_a_cancel_of_units_that_are_not_there_is_too_late(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    wms.turn_for(reference, step_seconds={"pick": 1000})
    warehouse.release(handover(reference, 1))

    reply = warehouse.request_cancel(
        reference, "c-1", (PackageLine(line_id="9", quantity=1),), "a line it never had"
    )

    assert reply == CancelReply(outcome=CancelReplyOutcome.TOO_LATE)
    assert wms.done(reference) == ["order_created"]


def test_a_cancel_that_overtakes_its_order_turns_the_order_away(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    reply = warehouse.request_cancel(reference, "c-1", None, "overtook the release")

    assert reply == CancelReply(outcome=CANCELLED)
    with pytest.raises(RefusedError, match="cancelled before it came"):
        warehouse.release(handover(reference, 1))
    assert "order_created" not in wms.done(reference)


def test_an_address_changes_until_the_order_is_packed(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, step_seconds={"pick": 100})
    warehouse.release(handover(reference, 1))

    in_time = warehouse.update_address(reference, address("10001"))
    receiver.wait_for(reference, "order.packed")
    late = warehouse.update_address(reference, address("60601"))

    assert (in_time, late) == (True, False)
    assert wms.done(reference).count("address_changed") == 1


def test_an_order_nobody_knows_is_named(warehouse: NodeSystem) -> None:
    with pytest.raises(UnknownReferenceError, match="W-none-1"):
        warehouse.events_of("W-none-1")
    with pytest.raises(RefusedError, match="no order with the reference W-none-1"):
        warehouse.remind("W-none-1")


def test_a_system_that_does_not_answer_is_unavailable(wms: Simulator, reference: str) -> None:
    elsewhere = wms.connection().model_copy(update={"base_url": f"http://127.0.0.1:{free_port()}"})

    with pytest.raises(OutsideUnavailableError, match="cannot be reached"):
        NodeSystems(SECRETS).get(elsewhere).release(handover(reference, 1))


def test_an_order_that_makes_no_sense_is_refused_with_the_field(wms: Simulator) -> None:
    answer = HTTP.post(
        f"{wms.url}/orders",
        json={"reference": "W-0-1", "node_id": "DC-1", "lines": [{"line_id": "1", "sku": "A"}]},
    )

    assert answer.status_code == 422
    assert answer.json()["message"].startswith("lines.0.quantity: must be given")


def test_a_registry_builds_a_client_once_and_again_after_a_change(wms: Simulator) -> None:
    systems = NodeSystems(SECRETS)
    connection = wms.connection()

    first, same = systems.get(connection), systems.get(wms.connection())
    moved = systems.get(connection.model_copy(update={"base_url": "http://elsewhere.test"}))

    assert first is same
    assert moved is not first


def test_events_of_a_rejected_order_name_the_reason(
    pos: Simulator, store: NodeSystem, receiver: Receiver, reference: str
) -> None:
    pos.turn_for(reference, rejection_rate=1, rejection_reason="closed for stocktaking")
    store.release(handover(reference, 1))

    receiver.wait_for(reference, "order.rejected")
    (event,) = store.events_of(reference)
    assert isinstance(event, NodeEvent)
    assert (event.type, event.reason) == (NodeEventType.REJECTED, "closed for stocktaking")
    wait_until(lambda: pos.done(reference)[-1] == "order_rejected", "the rejection in the ledger")
