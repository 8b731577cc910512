"""What a shop, its people and an auditor see of doms as a whole: real processes, only HTTP."""

import csv
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History

from config.samples import load_sample
from tests.e2e.system import (
    PERSONAL,
    Doms,
    Page,
    business_order,
    doubled,
    events,
    order,
    wait_for,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MOST_EVENTS = 110
ACTIVITY = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
TIMER = EventType.EVENT_TYPE_TIMER_STARTED


def test_a_one_line_order_is_delivered(doms: Doms) -> None:
    # when
    answer = doms.submit(order("E-one", ("TEE-BLACK-M", 2)))
    # then
    assert answer.status_code == 202
    assert answer.json()["workflow_id"] == "order-E-one"
    page = doms.completed("E-one")
    (fulfillment,) = page["fulfillments"]
    assert (fulfillment["node_id"], fulfillment["status"]) == ("dc-newark", "delivered")
    (package,) = fulfillment["packages"]
    assert package["status"] == "delivered"
    assert package["tracking_number"].startswith("SIM")
    assert doms.done_by("wms", "E-one") == {
        "order_created": 1,
        "order_picked": 1,
        "order_packed": 1,
        "labels_attached": 1,
        "order_handed_over": 1,
    }
    assert doms.done_by("carrier", "E-one") == {
        "label_bought": 1,
        "parcel_picked_up": 1,
        "parcel_delivered": 1,
    }
    doms.nothing_is_astray("E-one")


def test_the_history_of_a_simple_order_is_short_and_tells_the_story(doms: Doms) -> None:
    # given
    doms.accept(order("E-story", ("SOCKS-3PACK", 1)))
    doms.completed("E-story")
    # when
    histories = doms.histories_of("E-story")
    # then
    assert set(histories) == {"order-E-story", "fulfillment-E-story-1"}
    counted = {name: events(history) for name, history in histories.items()}
    assert sum(x.total() for x in counted.values()) <= MOST_EVENTS, counted
    for history in histories.values():
        assert without_summary(history) == []


def test_nothing_personal_is_in_any_history(doms: Doms) -> None:
    # given
    document = order("E-secret", ("CAP-NAVY", 1), ("MUG-BLUE", 1, "2"), pickup_at="store-new-york")
    doms.accept(document)
    moved = {**document["ship_groups"][0]["address"], "line1": "7 Xanadu Gardens"}
    doms.ask("orders/E-secret/address", request_id="move", address=moved)
    doms.completed("E-secret")
    # when
    histories = doms.histories_of("E-secret")
    # then
    assert len(histories) == 3
    written = b"".join(event.SerializeToString() for h in histories.values() for event in h.events)
    assert b"CAP-NAVY" in written
    assert [word for word in PERSONAL if word.lower().encode() in written.lower()] == []
    labels = doms.ledger("carrier", "E-secret")
    assert len(labels) == 3, "the address itself reached the carrier, which sent the parcel"


def test_what_no_single_node_has_is_sent_from_two(doms: Doms) -> None:
    doms.accept(order("E-split", ("TENT-2P", 1), ("COFFEE-1KG", 2), city="Dallas"))

    page = doms.completed("E-split")

    nodes = {x["node_id"]: x["status"] for x in page["fulfillments"]}
    assert nodes == {"dc-dallas": "delivered", "threepl-phoenix": "delivered"}
    assert doms.done_by("threepl", "E-split")["order_handed_over"] == 1
    assert doms.done_by("wms", "E-split")["order_handed_over"] == 1
    doms.nothing_is_astray("E-split")


def test_one_order_is_shipped_in_part_and_picked_up_in_part(doms: Doms) -> None:
    items = (("TEE-BLACK-M", 2), ("MUG-BLUE", 1, "2"))
    doms.accept(order("E-mixed", *items, pickup_at="store-new-york"))

    doms.completed("E-mixed")

    assert doms.statuses("E-mixed") == {"dc-newark": "delivered", "store-new-york": "collected"}
    assert doms.done_by("pos", "E-mixed")["order_collected"] == 1
    assert doms.done_by("carrier", "E-mixed")["label_bought"] == 1
    doms.nothing_is_astray("E-mixed")


def test_a_third_party_sends_several_packages_by_itself(doms: Doms) -> None:
    doms.accept(order("E-boxes", ("BOTTLE-STEEL", 24), city="Phoenix"))

    page = doms.completed("E-boxes")

    (fulfillment,) = page["fulfillments"]
    packages = fulfillment["packages"]
    assert [x["status"] for x in packages] == ["delivered"] * 3
    assert sorted(x["lines"][0]["quantity"] for x in packages) == [4, 10, 10]
    assert len({x["tracking_number"] for x in packages}) == 3
    assert doms.done_by("threepl", "E-boxes")["parcel_delivered"] == 3
    assert doms.ledger("carrier", "E-boxes") == []
    doms.nothing_is_astray("E-boxes")


def test_a_large_business_order_needs_two_approvals(doms: Doms) -> None:
    # given
    doms.accept(business_order("E-b2b", ("LAPTOP-14", 25), price="1149.00"))
    # when
    first = wait_for_approval(doms, "E-b2b", 1)
    clerk = {"verdict": "approve", "level": 1, "role": "clerk", "approver": "Otto"}
    assert "must decide, not clerk" in doms.refused("orders/E-b2b/approvals", **clerk)
    vote(doms, "E-b2b", first, "approve", "Maria")
    second = wait_for_approval(doms, "E-b2b", 2)
    assert doms.page("E-b2b")["stage"] == "pending_approval"
    vote(doms, "E-b2b", second, "approve", "Frank")
    # then
    page = doms.completed("E-b2b")
    assert (first["role"], second["role"]) == ("manager", "finance_director")
    told = [x["text"] for x in page["timeline"]]
    assert any("clerk" in text for text in told), "a vote that does not count is told too"
    assert approvals_of(doms, "E-b2b") == []
    doms.nothing_is_astray("E-b2b")


def test_a_rejected_business_order_takes_nothing(doms: Doms) -> None:
    # given
    before = on_hand(doms, "TABLET-11")
    doms.accept(business_order("E-rejected", ("TABLET-11", 20), price="599.00"))
    # when
    vote(doms, "E-rejected", wait_for_approval(doms, "E-rejected", 1), "reject", "Maria")
    # then
    page = doms.closed("E-rejected")
    assert page["stage"] == "rejected"
    assert page["fulfillments"] == []
    assert on_hand(doms, "TABLET-11") == before
    doms.nothing_is_astray("E-rejected")


def test_store_staff_work_off_their_list(doms: Doms) -> None:
    # given
    work = "/v1/nodes/store-portland/work"
    doms.accept(order("E-staff", ("VASE-GLASS", 2, "2"), pickup_at="store-portland"))
    task = wait_for(lambda: doms.get(work)["tasks"], "there is work in the store")[0]
    assert task["fulfillment_id"] == "E-staff-1"
    assert not any(word in json.dumps(task) for word in PERSONAL)
    # when
    for action, status in (
        ("accept", "acknowledged"),
        ("pick", "picking"),
        ("pack", "ready_for_pickup"),
        ("collect", "collected"),
    ):
        doms.ask(f"nodes/store-portland/work/E-staff-1/{action}")
        doms.until_status("E-staff", status)
    # then
    doms.completed("E-staff")
    assert doms.get(work)["tasks"] == []
    left = doms.sql(
        "SELECT node_id, delta FROM ledger"
        " WHERE order_id = 'E-staff' AND kind = 'consume' AND bucket = 'usable'"
    )
    assert left == [("store-portland", -2)]
    assert [x for x in doms.everything_done() if x["reference"] == "E-staff-1"] == []
    doms.books_are_right()


def test_a_cancel_while_the_node_has_not_packed_gives_everything_back(doms: Doms) -> None:
    # given
    doms.turn_all(by_reference={"E-cancel": {"step_seconds": {"pick": 5_000}}})
    before = on_hand(doms, "PAN-28")
    doms.accept(order("E-cancel", ("PAN-28", 3)))
    doms.until_status("E-cancel", "acknowledged")
    assert sum(on_hand(doms, "PAN-28").values()) == sum(before.values()) - 3
    # when
    doms.ask("orders/E-cancel/cancel", request_id="changed-my-mind", reason="changed my mind")
    # then
    page = doms.closed("E-cancel")
    assert page["stage"] == "cancelled"
    assert page["lines"][0]["quantities"]["cancelled"] == 3
    assert on_hand(doms, "PAN-28") == before
    assert doms.done_by("wms", "E-cancel") == {"order_created": 1, "order_cancelled": 1}
    assert doms.ledger("carrier", "E-cancel") == []
    doms.nothing_is_astray("E-cancel")


def test_the_same_order_sent_many_times_at_once_is_one_order(doms: Doms) -> None:
    # given
    document = order("E-twice", ("KEYBOARD-US", 1))
    # when
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: doms.submit(document), range(6)))
    # then
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 200, 202]
    assert {answer.json()["workflow_id"] for answer in answers} == {"order-E-twice"}
    page = doms.completed("E-twice")
    assert len(page["fulfillments"]) == 1
    assert doms.done_by("wms", "E-twice")["order_created"] == 1
    assert doms.submit(document).status_code == 200
    doms.nothing_is_astray("E-twice")


def test_an_order_of_a_thousand_lines_is_delivered(doms: Doms) -> None:
    # given
    skus = [x.sku for x in load_sample().stock if x.node_id == "dc-newark" and x.quantity >= 240]
    lines = [(skus[n % len(skus)], 1) for n in range(1_000)]
    # when
    doms.accept(order("E-large", *lines))
    # then
    page = doms.completed("E-large")
    assert len(page["lines"]) == 1_000
    assert sum(len(x["asked"]) for x in page["fulfillments"]) == 1_000
    for history in doms.histories_of("E-large").values():
        assert events(history)["WORKFLOW_TASK_FAILED"] == 0, "no step took too long"
    doms.nothing_is_astray("E-large")


def test_webhooks_that_come_twice_late_and_out_of_order_change_nothing(doms: Doms) -> None:
    # given
    doms.turn_all(
        duplicate_webhook_rate=1.0,
        late_webhook_rate=0.3,
        late_seconds=0.6,
        out_of_order_rate=0.4,
        out_of_order_seconds=0.6,
    )
    items: dict[str, tuple[Any, ...]] = {
        "E-noisy-1": ("HOODIE-GREY-M", 1),
        "E-noisy-2": ("CHARGER-65W", 2),
        "E-noisy-3": ("BOTTLE-STEEL", 12),
        "E-noisy-4": ("MUG-BLUE", 1, "2"),
    }
    # when
    doms.accept(*(order(x, item, pickup_at="store-chicago") for x, item in items.items()))
    for order_id in items:
        doms.completed(order_id)
    # then
    doms.behave()
    doms.nothing_is_astray(*items)
    for order_id in items:
        (status,) = doms.statuses(order_id).values()
        assert status == ("collected" if order_id == "E-noisy-4" else "delivered")


def test_an_outage_of_the_carrier_heals_by_itself(doms: Doms) -> None:
    # given
    doms.turn("carrier", outage=True, retry_after=0.2)
    doms.accept(order("E-outage", ("KETTLE-STEEL", 1)))
    doms.until_status("E-outage", "packed")
    assert doms.ledger("carrier", "E-outage") == []
    # when
    doms.turn("carrier", outage=False)
    # then
    doms.completed("E-outage")
    assert doms.done_by("carrier", "E-outage")["label_bought"] == 1
    doms.nothing_is_astray("E-outage")


def test_answers_lost_after_the_work_was_done_double_nothing(doms: Doms) -> None:
    # given
    doms.turn_all(lost_answer_rate=1.0, lost_answer_status=500)
    orders = [
        order("E-lost-1", ("SNEAKER-42", 1)),
        order("E-lost-2", ("BACKPACK-30L", 1), city="Phoenix"),
        order("E-lost-3", ("EARBUDS-2", 1, "2"), pickup_at="store-atlanta"),
    ]
    # when
    doms.accept(*orders)
    for document in orders:
        doms.completed(document["order_id"])
    # then
    done = [x for x in doms.everything_done() if x["reference"].startswith("E-lost")]
    counted = Counter(x["kind"] for x in done)
    assert doubled(done) == {}
    assert (counted["order_created"], counted["label_bought"]) == (3, 1)
    doms.nothing_is_astray("E-lost-1", "E-lost-2", "E-lost-3")


def test_the_command_line_shows_an_order_and_finds_all_well(doms: Doms) -> None:
    # given
    doms.accept(order("E-shown", ("TOWEL-BATH", 1)))
    doms.completed("E-shown")
    # when
    shown = doms.run("order", "show", "E-shown", "--json")
    unknown = doms.run("order", "show", "E-nowhere")
    found = doms.run("doctor", "--json")
    # then
    assert (shown.status, shown.err) == (0, "")
    assert shown.last_json == doms.page("E-shown")
    assert (unknown.status, unknown.out) == (1, "")
    assert re.fullmatch(r"doms: .*E-nowhere.*\n", unknown.err)
    assert found.status == 0, found.out
    assert all(x["ok"] for x in found.last_json)


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
def test_a_file_of_orders_is_submitted_and_waited_for(
    doms: Doms, form: str, tmp_path: Path
) -> None:
    # given
    documents = [order(f"E-{form}-{n}", ("PILLOW-DOWN", n), ("TEA-GREEN", 1)) for n in (1, 2)]
    documents.append(order(f"E-{form}-3", ("NO-SUCH-THING", 1)))
    path = tmp_path / f"orders.{form}"
    WRITERS[form](path, documents)
    # when
    ran = doms.run("submit", str(path), "--wait", "--json")
    again = doms.run("submit", str(path), "--json")
    # then
    told = ran.last_json
    assert ran.status == 1, "one was refused"
    assert (told["accepted"], told["refused"], told["closed"]) == (2, 1, 2), ran
    assert told["by_stage"] == {"completed": 2}
    assert "NO-SUCH-THING" in json.dumps(told["refusals"])
    assert (again.last_json["accepted"], again.last_json["refused"]) == (0, 1)
    for n in (1, 2):
        doms.completed(f"E-{form}-{n}")
    doms.nothing_is_astray(*(f"E-{form}-{n}" for n in (1, 2)))


def write_json(path: Path, documents: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(documents))


def write_ndjson(path: Path, documents: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in documents))


def write_csv(path: Path, documents: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            [
                *("order_id", "name", "line1", "city", "state", "postal_code", "country"),
                *("latitude", "longitude", "sku", "quantity", "unit_price"),
            ]
        )
        for one in documents:
            to = one["ship_groups"][0]["address"]
            where = [to[name] for name in ("name", "line1", "city", "region", "postal_code")]
            for line in one["lines"]:
                what = [line["sku"], line["quantity"], line["unit_price"]]
                place = ["US", to["latitude"], to["longitude"]]
                rows.writerow([one["order_id"], *where, *place, *what])


WRITERS = {"json": write_json, "ndjson": write_ndjson, "csv": write_csv}


def without_summary(history: History) -> list[str]:
    """Activities and timers of which support staff could not tell what they are."""
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name or "timer"
        for event in history.events
        if event.event_type in (ACTIVITY, TIMER) and not event.user_metadata.summary.data
    ]


def approvals_of(doms: Doms, order_id: str) -> list[Page]:
    return [x for x in doms.get("/v1/approvals")["approvals"] if x["order_id"] == order_id]


def wait_for_approval(doms: Doms, order_id: str, level: int) -> Page:
    def asked() -> list[Page]:
        return [x for x in approvals_of(doms, order_id) if x["level"] == level]

    found: list[Page] = wait_for(asked, f"level {level} of {order_id} is asked")
    return found[0]


def vote(doms: Doms, order_id: str, asked: Page, verdict: str, approver: str) -> None:
    doms.ask(
        f"orders/{order_id}/approvals",
        request_id=f"{order_id}-{asked['level']}",
        verdict=verdict,
        level=asked["level"],
        role=asked["role"],
        approver=approver,
    )


def on_hand(doms: Doms, sku: str) -> dict[str, int]:
    """What can still be sold, by node."""
    return {x["node_id"]: x["available"] for x in doms.get(f"/v1/inventory/{sku}")["nodes"]}
