"""What people and outside companies do in the demo, each act once, when its time has come."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from starter.commands.client import Api, ApiError, path_of
from starter.commands.demo_orders import HELD, PARKED, PENDING, DemoOrder

Row = dict[str, Any]
Say = Callable[[str], None]

STAFF_NODE = "store-portland"
BACKORDER_NODE, BACKORDER_SKU = "dc-dallas", "CONSOLE-RETRO"
_SUPPLY_AFTER_SECONDS = 4.0
_OUTAGE_AFTER_ORDERS = 8
_OUTAGE_SECONDS = 6.0
_NEXT_ACTION = {
    "created": "accept",
    "released": "accept",
    "acknowledged": "pick",
    "picking": "pack",
    "ready_for_pickup": "collect",
}
_VOTES = {
    "D-b2b-two-levels-1": {1: "approve", 2: "approve"},
    "D-b2b-one-level-1": {1: "approve"},
    "D-b2b-rejected-1": {1: "reject"},
    "D-b2b-waiting-2": {1: "approve"},
}
_AT_A_NODE = frozenset({"released", "picking", "shipped"})
_APPROVERS = {"manager": "Maria", "finance_director": "Frank"}

_TOLD_ORDERS = (
    *("D-node-silent-1", "D-node-rejects-1", "D-short-pick-1", "D-backorder-1"),
    *("D-cancelled-1", "D-cancel-too-late-1", "D-lost-parcel-1", "D-lost-parcel-2"),
)
_TOLD_KINDS = frozenset(
    {"silent", "returned", "released", "cancel", "granted", "backordered", "exception", "answer"}
)
_TELL_EVERY_SECONDS = 3.0

KNOBS: dict[str, dict[str, Any]] = {
    "D-node-rejects-1-1": {"rejection_rate": 1.0},
    "D-node-silent-1-1": {"silence_rate": 1.0},
    "D-short-pick-1-1": {"short_rate": 1.0, "short_units": 1, "short_reason": "not_found"},
    "D-lost-parcel-1-1": {"lost_parcel_rate": 1.0},
    "D-lost-parcel-2-1": {"lost_parcel_rate": 1.0},
    "D-cancelled-1-1": {"step_seconds": {"pick": 90}},
    "D-cancel-too-late-1-1": {"step_seconds": {"transit": 24}},
}
"""How the simulators treat the first fulfillment of some orders."""


@dataclass
class Stage:
    """What the acts see and write down: the orders as the API lists them, and what happened."""

    api: Api
    turn: Callable[[str, dict[str, Any]], None]
    """Sets knobs of a simulator by its name."""
    say: Say
    orders: dict[str, DemoOrder]
    rows: dict[str, Row] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    since: dict[str, float] = field(default_factory=dict)

    def once(self, act: str) -> bool:
        """Whether this is the first time; from now on it is not."""
        if act in self.done:
            return False
        self.done.add(act)
        return True

    def shown(self, order_id: str) -> str:
        """What the list shows for an order; empty until it is there."""
        row = self.rows.get(order_id)
        return "" if row is None else str(row["displayed"])

    def stage(self, order_id: str) -> str:
        """An order's stage; empty until it is there."""
        row = self.rows.get(order_id)
        return "" if row is None else str(row["stage"])

    def page(self, order_id: str) -> dict[str, Any]:
        """An order's own page, which is ahead of the list."""
        found: dict[str, Any] = self.api.get(path_of("orders", order_id))
        return found

    def seconds_since(self, moment: str) -> float:
        """Seconds since that moment was first asked about."""
        return time.monotonic() - self.since.setdefault(moment, time.monotonic())


def set_the_scene(turn: Callable[[str, dict[str, Any]], None]) -> None:
    """Tell the simulators how to behave: quick, and badly to the orders that show it."""
    for simulator in ("wms", "pos", "threepl", "carrier"):
        turn(simulator, {"time_scale": 0.5, "by_reference": KNOBS})


def act(stage: Stage) -> None:
    """Do whatever is due. An API that is away for a moment is asked again the next time."""
    for part in (
        _vote,
        _cancel,
        _hold_and_release,
        _change_address,
        _supply,
        _work_in_the_store,
        _answer_lost_parcel,
        _outage,
        _send_twice,
        _tell,
    ):
        try:
            part(stage)
        except ApiError as error:
            stage.say(f"({error})")


def _vote(stage: Stage) -> None:
    votes = [f"vote {order_id} {level}" for order_id, x in _VOTES.items() for level in x]
    if stage.done.issuperset(votes):
        return
    for waiting in stage.api.get("/v1/approvals")["approvals"]:
        order_id, level, role = waiting["order_id"], waiting["level"], waiting["role"]
        verdict = _VOTES.get(order_id, {}).get(level)
        if verdict and stage.once(f"vote {order_id} {level}"):
            approver = _APPROVERS.get(role, role)
            body = {
                "request_id": f"demo-{order_id}-{level}",
                "verdict": verdict,
                "level": level,
                "role": role,
                "approver": approver,
                "comment": "within budget" if verdict == "approve" else "no budget for this",
            }
            stage.api.post(f"{path_of('orders', order_id)}/approvals", body)
            past = "approves" if verdict == "approve" else "rejects"
            stage.say(f"{approver} ({role}) {past} {order_id} at level {level}")


def _cancel(stage: Stage) -> None:
    for order_id, when, reason in (
        ("D-cancelled-1", {"released", "acknowledged", "picking"}, "changed my mind"),
        ("D-cancel-too-late-1", {"shipped"}, "found it cheaper"),
    ):
        if f"cancel {order_id}" in stage.done or stage.stage(order_id) not in _AT_A_NODE:
            continue
        statuses = {one["status"] for one in stage.page(order_id)["fulfillments"]}
        if statuses & when and stage.once(f"cancel {order_id}"):
            body = {"request_id": f"demo-{order_id}", "reason": reason}
            status = min(statuses & when)
            stage.say(f"the customer cancels {order_id} while its fulfillment is {status}")
            _ask(stage, order_id, "cancel", body)


def _ask(stage: Stage, order_id: str, what: str, body: dict[str, Any]) -> None:
    """Ask something of an order that it may refuse; its refusal is told under its name."""
    try:
        stage.api.post(f"{path_of('orders', order_id)}/{what}", body)
    except ApiError as error:
        if error.status != httpx.codes.CONFLICT:
            raise
        stage.say(f"{order_id} refuses: {error}")


def _hold_and_release(stage: Stage) -> None:
    order_id = "D-held-and-released-1"
    path = path_of("orders", order_id)
    if stage.stage(order_id) and stage.once("hold"):
        body = {"request_id": "demo-hold", "type": "fraud-check", "reason": "unusual address"}
        stage.api.post(f"{path}/hold", body)
        stage.say(f"support holds {order_id}")
    held_for = stage.seconds_since("hold") if "hold" in stage.shown(order_id) else 0.0
    if held_for > _SUPPLY_AFTER_SECONDS and stage.once("release hold"):
        stage.api.post(
            f"{path}/release-hold", {"request_id": "demo-release", "type": "fraud-check"}
        )
        stage.say(f"support releases {order_id}")


def _change_address(stage: Stage) -> None:
    order_id = "D-address-change-1"
    if stage.stage(order_id) and stage.once("address"):
        address = dict(stage.orders[order_id].document["ship_groups"][0]["address"])
        address["line1"] = "7 New Street"
        body = {"request_id": "demo-address", "address": address}
        stage.api.post(f"{path_of('orders', order_id)}/address", body)
        stage.say(f"the customer of {order_id} moves to another street")


def _supply(stage: Stage) -> None:
    if stage.stage("D-backorder-1") != "backordered":
        return
    if stage.seconds_since("backorder") > _SUPPLY_AFTER_SECONDS and stage.once("supply"):
        stage.api.post(
            "/v1/inventory/adjustments",
            {
                "request_id": "demo-supply",
                "node_id": BACKORDER_NODE,
                "sku": BACKORDER_SKU,
                "delta": 10,
                "reason": "a delivery from the maker",
            },
        )
        stage.say(f"10 {BACKORDER_SKU} arrive in {BACKORDER_NODE}: the backorder is granted")


def _work_in_the_store(stage: Stage) -> None:
    waits = [row for order_id, row in stage.rows.items() if order_id.startswith("D-store-staff")]
    if not any(row["stage"] in _AT_A_NODE for row in waits):
        return
    path = path_of("nodes", STAFF_NODE, "work")
    for task in stage.api.get(path)["tasks"]:
        fulfillment_id, action = task["fulfillment_id"], _NEXT_ACTION.get(task["status"])
        if action and stage.once(f"{action} {fulfillment_id}"):
            stage.api.post(f"{path}/{fulfillment_id}/{action}", {})
            stage.say(f"the staff of {STAFF_NODE}: {action} {fulfillment_id}")


def _answer_lost_parcel(stage: Stage) -> None:
    order_id = "D-lost-parcel-1"
    if "attention" not in stage.shown(order_id) or "reship" in stage.done:
        return
    for attention in _attentions(stage.page(order_id)):
        if "reship" in attention["choices"] and stage.once("reship"):
            stage.api.post(
                f"{path_of('orders', order_id)}/resume",
                {
                    "request_id": "demo-reship",
                    "park_id": attention["park_id"],
                    "choice": "reship",
                },
            )
            stage.say(f"a parcel of {order_id} is lost; support sends another one")


def look_for_parked(stage: Stage) -> None:
    """Show a parked fulfillment on its order's row; the list itself shows only parked orders."""
    for order_id in ("D-lost-parcel-1", "D-lost-parcel-2"):
        row = stage.rows.get(order_id)
        if row is None or row["stage"] not in _AT_A_NODE:
            continue
        for attention in _attentions(stage.page(order_id)):
            row["displayed"] = f"attention: {attention['step']}"


def _attentions(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in (page, *(page.get("fulfillments") or ())):
        if one.get("attention"):
            yield one["attention"]


def _outage(stage: Stage) -> None:
    moving = sum(row["stage"] in _AT_A_NODE for row in stage.rows.values())
    if moving >= _OUTAGE_AFTER_ORDERS and stage.once("outage"):
        stage.turn("carrier", {"outage": True})
        stage.say(f"the carrier is down for {_OUTAGE_SECONDS:.0f} s: labels are tried again")
    if "outage" in stage.done and stage.seconds_since("outage") > _OUTAGE_SECONDS:
        end_outage(stage)


def end_outage(stage: Stage) -> None:
    """Bring the carrier back, if it was taken down."""
    if "outage" in stage.done and stage.once("outage over"):
        stage.turn("carrier", {"outage": False})
        stage.say("the carrier is back")


def _send_twice(stage: Stage) -> None:
    order_id = "D-one-line-1"
    if stage.stage(order_id) and stage.once("send twice"):
        stage.api.post("/v1/orders", stage.orders[order_id].document)
        stage.say(f"the shop sends {order_id} a second time: nothing changes")


def _tell(stage: Stage) -> None:
    """Show what the timelines of the special orders say, as it is written."""
    if stage.seconds_since("told") < _TELL_EVERY_SECONDS:
        return
    del stage.since["told"]
    for order_id in _TOLD_ORDERS:
        row = stage.rows.get(order_id)
        if row is None or f"all told of {order_id}" in stage.done:
            continue
        if row["closed"]:
            stage.done.add(f"all told of {order_id}")
        for entry in stage.page(order_id)["timeline"]:
            is_news = stage.once(f"told {order_id} {entry['key']}")
            if is_news and entry["kind"] in _TOLD_KINDS:
                stage.say(f"{order_id}: {entry['text']}")


def is_settled(order: DemoOrder, row: Row | None) -> bool:
    """Whether an order has come to an end, or waits for a person as it should."""
    if row is None:
        return False
    return bool(row["closed"]) or _waits_as_it_should(order, row)


def ended_as_expected(order: DemoOrder, row: Row | None) -> bool:
    """Whether an order ended, or waits, just as its situation says."""
    if row is None:
        return False
    return _waits_as_it_should(order, row) or (bool(row["closed"]) and row["stage"] == order.ends)


def _waits_as_it_should(order: DemoOrder, row: Row) -> bool:
    shown = str(row["displayed"])
    if order.ends in {HELD, PARKED}:
        return shown.startswith(order.ends)
    return order.ends == PENDING and row["stage"] == PENDING
