import time

import pytest

from domain.errors import OutsideUnavailableError
from domain.fulfillments import PackageLine
from integrations.carrier.port import Carrier
from integrations.http import call, open_client
from integrations.node_system import CancelReply, CancelReplyOutcome, NodeSystem
from integrations.simulators.knobs import STEP_SECONDS, Knobs, draw, happens, knobs_for
from tests.integration.outside.test_carrier import package
from tests.integration.outside.world import HTTP, Receiver, Simulator, handover, wait_until


def test_knobs_are_read_and_changed_one_by_one(wms: Simulator) -> None:
    wms.turn(latency_ms=1)
    wms.turn(short_units=3)

    knobs = wms.get("/knobs")
    assert (knobs["latency_ms"], knobs["short_units"], knobs["simulator"]) == (1, 3, True)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"eror_rate": 1}, "eror_rate: "),
        ({"error_rate": 2}, "error_rate: "),
        ({"by_sku": {"SHIRT": {"silence": 1}}}, "silence: "),
        ({"by_node": {"DC-1": {"outage": True}}}, "'outage' cannot be set for one node"),
        ({"step_seconds": {"dance": 1}}, "no step 'dance'"),
    ],
)
def test_a_knob_that_does_not_exist_is_refused_and_nothing_changes(
    wms: Simulator, knobs: dict[str, object], words: str
) -> None:
    before = wms.get("/knobs")

    answer = HTTP.put(f"{wms.url}/knobs", json=knobs)

    assert answer.status_code == 422
    assert words in answer.json()["message"]
    assert wms.get("/knobs") == before


def test_overrides_go_from_node_to_sku_to_order_to_fulfillment() -> None:
    knobs = Knobs(
        short_rate=0.1,
        latency_ms=1,
        by_node={"DC-1": {"short_rate": 0.2, "latency_ms": 2, "silence_rate": 0.2}},
        by_sku={"SHIRT": {"short_rate": 0.3, "latency_ms": 3}},
        by_reference={"W-1": {"short_rate": 0.4}, "W-1-2": {"short_rate": 0.5}},
    )

    def rates(reference: str, node_id: str, sku: str) -> tuple[float, int, float]:
        found = knobs_for(knobs, reference=reference, node_id=node_id, skus=(sku,))
        return found.short_rate, found.latency_ms, found.silence_rate

    assert rates("W-9-1", "DC-9", "SOCKS") == (0.1, 1, 0.0)
    assert rates("W-9-1", "DC-1", "SOCKS") == (0.2, 2, 0.2)
    assert rates("W-9-1", "DC-1", "SHIRT") == (0.3, 3, 0.2)
    assert rates("W-1-1", "DC-1", "SHIRT") == (0.4, 3, 0.2)
    assert rates("W-1-2", "DC-9", "SHIRT") == (0.5, 3, 0.0)


def test_chance_depends_only_on_seed_knob_and_reference() -> None:
    references = [f"W-{n}-1" for n in range(2_000)]
    struck = [happens(Knobs(silence_rate=0.25), "silence_rate", x) for x in references]

    assert struck == [happens(Knobs(silence_rate=0.25), "silence_rate", x) for x in references]
    assert 430 < sum(struck) < 570
    assert draw(1, "silence_rate", "W-1-1") != draw(2, "silence_rate", "W-1-1")


def test_every_step_takes_its_seconds_times_the_scale() -> None:
    knobs = Knobs(time_scale=2, step_seconds={"pick": 5})

    assert knobs.seconds("pick") == 10
    assert {step: knobs.seconds(step) for step in STEP_SECONDS if step != "pick"} == {
        step: seconds * 2 for step, seconds in STEP_SECONDS.items() if step != "pick"
    }


def test_latency_delays_an_answer(wms: Simulator, warehouse: NodeSystem, reference: str) -> None:
    wms.turn_for(reference, latency_ms=200)

    started = time.monotonic()
    warehouse.release(handover(reference, 1))

    assert time.monotonic() - started >= 0.2


def test_too_many_requests_are_told_when_to_come_back(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    wms.turn(rate_limit_per_second=1, retry_after=30)
    statuses = [HTTP.get(f"{wms.url}/orders/{reference}") for _ in range(3)]

    assert [x.status_code for x in statuses] == [404, 429, 429]
    assert statuses[1].headers["Retry-After"] == "30"
    with pytest.raises(OutsideUnavailableError, match="too many requests") as caught:
        warehouse.release(handover(reference, 1))
    assert caught.value.retry_after == 30
    assert wms.done(reference) == []


def test_a_short_rate_limit_is_waited_out_inside_the_call(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    wms.turn(rate_limit_per_second=20, retry_after=0.1)

    for _ in range(40):
        warehouse.release(handover(reference, 1))

    assert wms.done(reference).count("order_created") == 1


def test_an_error_does_nothing_and_a_later_try_may_go_through(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    wms.turn_for(reference, error_rate=1)
    with pytest.raises(OutsideUnavailableError, match="answered 500"):
        warehouse.release(handover(reference, 1))
    assert wms.done(reference) == []

    wms.turn_for(reference, error_rate=0.5)
    wait_until(lambda: _goes_through(warehouse, reference), "a try that goes through")
    assert wms.done(reference).count("order_created") == 1


def _goes_through(warehouse: NodeSystem, reference: str) -> bool:
    try:
        warehouse.release(handover(reference, 1))
    except OutsideUnavailableError:
        return False
    return True


def test_a_lost_answer_is_found_again_by_repeating_the_call(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    wms.turn_for(reference, lost_answer_rate=1, lost_answer_status=500)

    with pytest.raises(OutsideUnavailableError, match="no answer in time"):
        warehouse.release(handover(reference, 1))
    made = wms.get(f"/orders/{reference}")["id"]

    assert warehouse.release(handover(reference, 1)).external_id == made
    assert wms.done(reference).count("order_created") == 1


def test_a_lost_answer_of_504_is_repeated_within_the_call(
    carrier: Simulator, parcel_service: Carrier, reference: str
) -> None:
    carrier.turn_for(reference, lost_answer_rate=1)

    label = parcel_service.buy(package(reference), "standard", reference)

    (entry,) = carrier.get(f"/ledger?reference={reference}")["entries"]
    assert (entry["kind"], entry["tracking_number"]) == ("label_bought", label.tracking_number)


def test_a_lost_answer_to_a_cancel_is_the_same_when_repeated(
    wms: Simulator, warehouse: NodeSystem, reference: str
) -> None:
    wms.turn_for(reference, step_seconds={"pick": 1000})
    warehouse.release(handover(reference, 1))
    wms.turn_for(reference, lost_answer_rate=1)

    reply = warehouse.request_cancel(reference, "c-1", None, "changed")

    assert reply.lines == (PackageLine(line_id="1", quantity=1),)
    assert wms.done(reference).count("order_cancelled") == 1


def test_an_outage_stops_everything_and_its_end_lets_it_go_on(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, step_seconds={"pick": 100})
    warehouse.release(handover(reference, 1))

    wms.turn(outage=True, retry_after=60)
    with pytest.raises(OutsideUnavailableError, match="the system is down") as caught:
        warehouse.remind(reference)
    assert caught.value.retry_after == 60
    assert wms.get("/healthz")["waiting"]["steps"] >= 1
    assert receiver.told(reference) == []

    wms.turn(outage=False)
    receiver.wait_for(reference, "order.packed")


def test_a_silent_order_is_received_and_never_heard_of_again(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, silence_rate=1)

    receipt = warehouse.release(handover(reference, 1))
    warehouse.remind(reference)

    assert not receipt.acknowledged
    assert wms.done(reference) == ["order_created", "reminded"]
    assert warehouse.events_of(reference) == ()
    assert warehouse.request_cancel(reference, "c-1", None, "silent") == CancelReply(
        outcome=CancelReplyOutcome.CANCELLED, lines=(PackageLine(line_id="1", quantity=1),)
    )
    assert receiver.told(reference) == []


def test_a_rejection_says_why_and_a_later_cancel_agrees(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, rejection_rate=1)
    warehouse.release(handover(reference, 2))

    (told,) = receiver.wait_for(reference, "order.rejected")
    assert told.body["reason"] == "no capacity today"
    assert warehouse.request_cancel(reference, "c-1", None, "").lines == (
        PackageLine(line_id="1", quantity=2),
    )
    assert "order_cancelled" not in wms.done(reference)


def test_a_short_pick_strikes_one_line_and_the_rest_goes_on(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn(by_sku={"SHOES": {"short_rate": 1, "short_reason": "damaged"}})
    warehouse.release(handover(reference, 2, 3))

    picked, packed = receiver.wait_for(reference, "order.packed")
    assert picked.body["lines"] == [
        {"line_id": "1", "picked": 2, "short": 0},
        {"line_id": "2", "picked": 2, "short": 1, "reason": "damaged"},
    ]
    assert packed.body["packages"][0]["lines"] == [
        {"line_id": "1", "quantity": 2},
        {"line_id": "2", "quantity": 2},
    ]


def test_an_order_picked_short_to_nothing_ends_there(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, short_rate=1, short_units=9)
    warehouse.release(handover(reference, 1))

    (picked,) = receiver.wait_for(reference, "order.picked")
    assert picked.body["lines"][0]["short"] == 1
    assert picked.body["lines"][0]["reason"] in {"not_found", "damaged"}
    assert wms.get(f"/orders/{reference}")["status"] == "nothing_left"
    assert wms.done(reference) == ["order_created", "order_picked"]


def test_a_cancel_may_be_answered_unknown_and_changes_nothing(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, cancel_unknown_rate=1)
    warehouse.release(handover(reference, 1))

    reply = warehouse.request_cancel(reference, "c-1", None, "")

    assert reply == CancelReply(outcome=CancelReplyOutcome.UNKNOWN)
    receiver.wait_for(reference, "order.packed")


def test_a_pending_cancel_is_granted_later(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, cancel_pending_rate=1, step_seconds={"pick": 1000})
    warehouse.release(handover(reference, 2))

    reply = warehouse.request_cancel(reference, "c-1", None, "")

    assert reply == CancelReply(outcome=CancelReplyOutcome.PENDING)
    (told,) = receiver.wait_for(reference, "order.cancelled")
    assert told.body["lines"] == [{"line_id": "1", "short": 2}]
    assert told.body["request_id"] == "c-1"
    granted = warehouse.request_cancel(reference, "c-1", None, "")
    assert granted.outcome is CancelReplyOutcome.CANCELLED


def test_a_pending_cancel_is_refused_when_packing_was_quicker(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(
        reference, cancel_pending_rate=1, step_seconds={"pick": 50, "pack": 0, "answer_cancel": 100}
    )
    warehouse.release(handover(reference, 1))

    assert warehouse.request_cancel(reference, "c-1", None, "").outcome == "pending"

    told = receiver.wait_for(reference, "order.cancel_refused")
    assert [x.body["type"] for x in told] == [
        "order.picked",
        "order.packed",
        "order.cancel_refused",
    ]
    assert "order_cancelled" not in wms.done(reference)


def test_a_webhook_may_come_twice_with_the_same_id(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, duplicate_webhook_rate=1)
    warehouse.release(handover(reference, 1))

    told = receiver.wait_for(reference, "order.packed", times=2)
    ids = [x.headers["webhook-id"] for x in told]
    assert ids == [
        f"{reference}.1.picked",
        f"{reference}.1.picked",
        f"{reference}.2.packed",
        f"{reference}.2.packed",
    ]


def test_a_late_webhook_holds_back_those_behind_it(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(reference, late_webhook_rate=1, late_seconds=0.3)

    started = time.monotonic()
    warehouse.release(handover(reference, 1))

    picked, packed = receiver.wait_for(reference, "order.packed")
    assert [picked.body["type"], packed.body["type"]] == ["order.picked", "order.packed"]
    assert picked.at - started >= 0.3


def test_a_webhook_out_of_order_is_overtaken(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    wms.turn_for(
        reference, out_of_order_rate=1, out_of_order_seconds=1.2, step_seconds={"pack": 50}
    )
    warehouse.release(handover(reference, 1))
    wait_until(lambda: "order_picked" in wms.done(reference), "the pick")

    wms.turn_for(reference, out_of_order_rate=0)

    told = receiver.wait_for(reference, "order.picked")
    assert [x.body["type"] for x in told] == ["order.packed", "order.picked"]
    assert told[0].body["occurred_at"] > told[1].body["occurred_at"]


def test_a_webhook_that_is_not_taken_is_sent_again_before_the_next(
    wms: Simulator, warehouse: NodeSystem, receiver: Receiver, reference: str
) -> None:
    receiver.failures[reference] = 2

    warehouse.release(handover(reference, 1))

    receiver.wait_for(reference, "order.packed")
    assert receiver.failures[reference] == 0
    assert receiver.told(reference) == ["order.picked", "order.packed"]


def test_everything_says_that_it_is_a_simulator(simulators: dict[str, Simulator]) -> None:
    with open_client() as client:
        for simulator in simulators.values():
            for path in ("/", "/healthz", "/knobs", "/ledger"):
                reply = call(client, "GET", simulator.url + path)
                assert reply.body["simulator"] is True, path
            described = simulator.get("/")["endpoints"]
            assert {"method", "path", "summary"} == set(described[0])
