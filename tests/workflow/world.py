"""A small world for workflow tests: real store, real workers and dispatcher, faked outside systems.

The Temporal server skips time, so that days of waiting take milliseconds.
"""

import asyncio
import json
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Engine
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    Worker,
)

from activities.context import Context
from config.settings import Settings
from domain.brokering_runs import BrokeringRun
from domain.catalogue import Product
from domain.errors import OutsideUnavailableError, RefusedError
from domain.events import CarrierEvent, CarrierStatus, LineFact, NodeEvent, NodeEventType
from domain.fulfillments import Package, PackageLine
from domain.inventory import Position
from domain.network import (
    CarrierService,
    Connection,
    ConnectionClass,
    Network,
    Node,
    NodeKind,
    Place,
    WorkingHours,
)
from domain.orders import Address, ServiceLevel
from domain.quantities import Bucket
from domain.stages import Choice
from integrations.carrier.port import Label, Rate, ShipmentRequest, VoidOutcome
from integrations.node_system import CancelReply, CancelReplyOutcome, Handover, HandoverReceipt
from starter.api.context import Wakeup
from starter.dispatcher import Dispatcher
from starter.intake import Capture, Intake, Reference
from store import (
    brokering,
    fulfillments,
    inbox,
    inventory,
    network,
    order_pages,
    policies,
    reporting,
)
from store.engine import reading, transaction
from store.order_pages import OrderPage
from worker.composition import order_activities, outside_activities
from worker.deployment import deployment_config, set_current
from worker.interceptors import WordsApart
from workflows.brokering import BrokeringInput, BrokeringWorkflow
from workflows.fulfillment import FulfillmentWorkflow
from workflows.messages import (
    Cancel,
    CancelLine,
    FulfillmentResult,
    OrderReport,
    OrderResult,
    Resume,
)
from workflows.order import OrderWorkflow

PATIENCE_SECONDS = 60.0
ALWAYS_OPEN = WorkingHours(
    days=(0, 1, 2, 3, 4, 5, 6), opens="00:00", closes="23:59", cutoff="23:58"
)
SAN_FRANCISCO = {"latitude": 37.77, "longitude": -122.42}


@dataclass
class FakeNodeSystem:
    """A node system that keeps what it was asked and answers as a test tells it to."""

    acknowledges: bool = True
    ships_itself: bool = False
    cancel_outcome: CancelReplyOutcome = CancelReplyOutcome.CANCELLED
    takes_addresses: bool = True
    refusal: str | None = None
    refusal_of_expiry: str | None = None
    outages: int = 0
    outage_words: str = "the node's system is away"
    released: dict[str, Handover] = field(default_factory=dict)
    handovers: list[str] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    reminded: list[str] = field(default_factory=list)
    cancels: list[tuple[str, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    labels: dict[str, tuple[Package, ...]] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)
    answers_cancels: Event = field(default_factory=Event)
    """Cleared by a test, the node takes its time to answer a cancel."""

    def __post_init__(self) -> None:
        self.answers_cancels.set()

    def release(self, handover: Handover) -> HandoverReceipt:
        if self.outages:
            self.outages -= 1
            raise OutsideUnavailableError(self.outage_words, retry_after=0.01)
        if self.refusal:
            raise RefusedError(self.refusal)
        self.released[handover.order.fulfillment_id] = handover
        self.handovers.append(handover.order.fulfillment_id)
        return HandoverReceipt(
            external_id=f"X-{handover.order.fulfillment_id}",
            acknowledged=self.acknowledges,
            ships_itself=self.ships_itself,
        )

    def update_address(self, fulfillment_id: str, address: Address) -> bool:
        self.addresses.append(address)
        return self.takes_addresses

    def request_cancel(
        self,
        fulfillment_id: str,
        request_id: str,
        lines: tuple[PackageLine, ...] | None,
        reason: str,
    ) -> CancelReply:
        self.cancels.append((fulfillment_id, request_id))
        self.reasons.append(reason)
        assert self.answers_cancels.wait(PATIENCE_SECONDS)
        return CancelReply(outcome=self.cancel_outcome, lines=lines or ())

    def remind(self, fulfillment_id: str) -> None:
        self.reminded.append(fulfillment_id)

    def attach_labels(self, fulfillment_id: str, packages: tuple[Package, ...]) -> None:
        self.labels[fulfillment_id] = packages

    def pickup_expired(self, fulfillment_id: str) -> None:
        if self.refusal_of_expiry:
            raise RefusedError(self.refusal_of_expiry)
        self.expired.append(fulfillment_id)


@dataclass
class FakeCarrier:
    """A carrier that sells one label per key."""

    outages: int = 0
    refusal: str | None = None
    bought: dict[str, Label] = field(default_factory=dict)
    destinations: list[float | None] = field(default_factory=list)
    voided: list[str] = field(default_factory=list)
    rated: int = 0

    def rates(self, request: ShipmentRequest) -> tuple[Rate, ...]:
        self.rated += 1
        if self.outages:
            self.outages -= 1
            raise OutsideUnavailableError("the carrier is away", retry_after=0.01)
        if self.refusal:
            raise RefusedError(self.refusal)
        return tuple(
            Rate(
                service=option.service_id,
                level=option.level,
                carrier="Fake Parcel",
                cost=option.base or Decimal(5),
                currency="USD",
                delivery_days=2,
            )
            for option in request.options
        )

    def find_label(
        self, request: ShipmentRequest, key: str, shipment_id: str | None = None
    ) -> Label | None:
        return None

    def check(self) -> str:
        return "answers"

    def buy(
        self, request: ShipmentRequest, service: str, key: str, shipment_id: str | None = None
    ) -> Label:
        self.destinations.append(request.ship_to.longitude if request.ship_to else None)
        return self.bought.setdefault(
            key,
            Label(
                shipment_id=f"S-{key.replace('/', '-')}",
                tracking_number=f"T-{key.replace('/', '-')}",
                carrier="Fake Parcel",
                service=service,
                label_url="https://labels.example/1",
                cost=Decimal("5.00"),
                currency="USD",
            ),
        )

    def void(self, shipment_id: str, key: str) -> VoidOutcome:
        self.voided.append(shipment_id)
        return VoidOutcome.VOIDED

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        return ()


@dataclass
class Fakes:
    """Hands out the fake of a connection; satisfies both registries."""

    systems: dict[str, Any]

    def get(self, connection: Connection) -> Any:
        return self.systems[connection.connection_id]


def zone_where_it_is_morning(now: datetime) -> str:
    """A zone where it is about nine: plans may be released for hours, whenever tests run."""
    ahead = (9 - now.astimezone(UTC).hour + 12) % 24 - 12
    return f"Etc/GMT{-ahead:+d}"


def sample_network() -> Network:
    """A DC, two stores (one without a system), a 3PL."""
    time_zone = zone_where_it_is_morning(datetime.now(UTC))
    connections = (
        Connection(connection_id="wms", kind=ConnectionClass.WMS, vendor="fake"),
        Connection(connection_id="pos", kind=ConnectionClass.POS, vendor="fake"),
        Connection(connection_id="threepl", kind=ConnectionClass.THREEPL, vendor="fake"),
        Connection(connection_id="carrier", kind=ConnectionClass.CARRIER, vendor="fake"),
    )
    service = CarrierService(
        service_id="ground",
        connection_id="carrier",
        carrier="Fake Parcel",
        level=ServiceLevel.STANDARD,
        base=Decimal("5.00"),
        per_km=Decimal("0.001"),
    )

    def node(node_id: str, kind: NodeKind, longitude: float, connection: str | None) -> Node:
        return Node(
            node_id=node_id,
            kind=kind,
            place=Place(latitude=37.7, longitude=longitude, region="CA", country="US"),
            time_zone=time_zone,
            hours=ALWAYS_OPEN,
            processing_minutes=0,
            services=("ground",),
            connection_id=connection,
            offers_pickup=kind is NodeKind.STORE,
        )

    return Network(
        connections=connections,
        services=(service,),
        nodes=(
            node("dc-1", NodeKind.DC, -121.0, "wms"),
            node("dc-2", NodeKind.DC, -100.0, "wms"),
            node("store-1", NodeKind.STORE, -122.0, "pos"),
            node("store-2", NodeKind.STORE, -118.0, None),
            node("threepl-1", NodeKind.THREEPL, -110.0, "threepl"),
        ),
    )


PRODUCTS = tuple(
    Product(
        sku=sku, name=sku, weight_grams=500, unit_cost=Decimal("4.00"), units={"EA": 1, "CS": 12}
    )
    for sku in ("TEA", "CUP", "POT")
)


def document(order_id: str = "W-1", **changes: Any) -> dict[str, Any]:
    """An order of two TEA shipped to San Francisco, with changes."""
    lines = changes.pop("lines", [{"line_id": "1", "sku": "TEA", "quantity": 2}])
    base: dict[str, Any] = {
        "order_id": order_id,
        "source": "shop",
        "external_id": order_id,
        "currency": "USD",
        "placed_at": "2026-03-02T09:00:00Z",
        "customer": {"name": "Ada Example", "email": "ada@example.org"},
        "ship_groups": [{"id": "1", "address": {"country": "US", "region": "CA", **SAN_FRANCISCO}}],
        "lines": [{"unit_price": "10.00", **line} for line in lines],
    }
    return {**base, **changes}


class World:
    """What a test works with."""

    def __init__(self, env: WorkflowEnvironment, engine: Engine, settings: Settings) -> None:
        self.env = env
        self.client: Client = env.client
        self.engine = engine
        self.settings = settings
        self.wms = FakeNodeSystem()
        self.pos = FakeNodeSystem(acknowledges=False)
        self.threepl = FakeNodeSystem(ships_itself=True)
        self.carrier = FakeCarrier()
        self.events = 0
        self.loses_answers = False
        self.refusals: dict[str, str] = {}
        """Activity -> why it fails for good, while the test says so."""
        self.skipped = timedelta(0)
        self._reference = Reference()
        self._intake = Intake(engine, self._reference, clock=lambda: datetime.now(UTC))

    @property
    def context(self) -> Context:
        systems = Fakes({"wms": self.wms, "pos": self.pos, "threepl": self.threepl})
        carriers = Fakes({"carrier": self.carrier})
        return Context(self.engine, systems, carriers, local_may_vote=True)  # type: ignore[arg-type]

    @property
    def reference(self) -> Reference:
        return self._reference

    def prepare(
        self, *, process: dict[str, Any] | None = None, routing: dict[str, Any] | None = None
    ) -> None:
        """Load the network, catalogue and policies."""
        now = datetime.now(UTC)
        with transaction(self.engine) as session:
            network.import_network(session, sample_network(), PRODUCTS, now)
            rules = policies.publish(session, "routing", {"name": "test", **(routing or {})}, now)
            pinned = policies.publish(session, "process", {"name": "test", **(process or {})}, now)
            policies.activate(session, rules, {}, now)
            policies.activate(session, pinned, {}, now)

    def stock(self, **units: int) -> None:
        """Put units on shelves: `dc_1__TEA=5` is 5 TEA at dc-1."""
        with transaction(self.engine) as session:
            for place, quantity in units.items():
                node, sku = place.split("__")
                self.events += 1
                inventory.receive(
                    session,
                    node.replace("_", "-"),
                    sku,
                    quantity,
                    key=f"test-stock/{self.events}",
                    now=datetime.now(UTC),
                )

    def sellable(self, sku: str = "TEA") -> dict[str, int]:
        with reading(self.engine) as session:
            return inventory.availability(session, [sku]).get(sku, {})

    async def submit(
        self, order: dict[str, Any], entered_by: str = "shop"
    ) -> WorkflowHandle[Any, Any]:
        """Accept an order, and wait until the dispatcher has started its workflow."""
        accepted = await asyncio.to_thread(
            self._intake.accept, json.dumps(order).encode(), entered_by
        )
        handle = self.client.get_workflow_handle(accepted.workflow_id, result_type=OrderResult)
        await self.until(lambda: self._exists(handle), "the workflow starts")
        return handle

    async def _exists(self, handle: WorkflowHandle[Any, Any]) -> bool:
        with suppress(Exception):
            await handle.describe()
            return True
        return False

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Wait for a condition; fails, saying what was waited for."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    answer = condition()
                    if isinstance(answer, Awaitable):
                        answer = await answer
                    if answer:
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"waited in vain until {what}") from None

    async def report(self, handle: WorkflowHandle[Any, Any]) -> OrderReport:
        return await handle.query(OrderWorkflow.status)

    async def until_shown(self, handle: WorkflowHandle[Any, Any], displayed: str) -> OrderReport:
        """Wait until the order shows that stage, hold or attention; reserved, also in the books."""
        seen: list[str] = []

        async def shows() -> bool:
            # A query of a workflow that just closes or continues as new may find nobody.
            with suppress(RPCError):
                seen[:] = [(await self.report(handle)).view.displayed]
            if displayed == "reserved":
                # The workflow says so while it reserves.
                seen.append(self.page(handle.id.removeprefix("order-")).displayed)
            return set(seen) == {displayed}

        try:
            await self.until(shows, displayed)
        except AssertionError:
            raise AssertionError(f"waited in vain for {displayed}; it shows {seen}") from None
        return await self.report(handle)

    async def until_fulfillment(self, fulfillment_id: str, status: str) -> None:
        """Wait until a fulfillment has that status."""
        handle = self.client.get_workflow_handle(
            f"fulfillment-{fulfillment_id}", result_type=FulfillmentResult
        )
        seen: list[str] = []

        async def there() -> bool:
            with suppress(Exception):
                seen[:] = [(await handle.query(FulfillmentWorkflow.status)).status.value]
            return seen == [status]

        try:
            await self.until(there, status)
        except AssertionError:
            raise AssertionError(f"waited for {fulfillment_id} {status}; it is {seen}") from None

    async def until_order_knows(
        self, handle: WorkflowHandle[Any, Any], fulfillment_id: str, status: str
    ) -> None:
        """Wait until the order itself was told that of its fulfillment."""

        async def told() -> bool:
            found = (await self.report(handle)).fulfillments.get(fulfillment_id)
            return found is not None and found.value == status

        await self.until(told, f"the order knows that {fulfillment_id} is {status}")

    def node_event(self, fulfillment_id: str, kind: str, **fields: Any) -> NodeEvent:
        self.events += 1
        return NodeEvent(
            event_id=fields.pop("event_id", f"node-{self.events}"),
            occurred_at=datetime.now(UTC),
            fulfillment_id=fulfillment_id,
            type=NodeEventType(kind),
            **fields,
        )

    async def node_says(self, fulfillment_id: str, kind: str, **fields: Any) -> None:
        """Signal a node's report to the fulfillment."""
        handle = self.client.get_workflow_handle(f"fulfillment-{fulfillment_id}")
        await handle.signal("node_event", self.node_event(fulfillment_id, kind, **fields))

    async def carrier_says(
        self, fulfillment_id: str, status: str, package: str = "P1", *, tracking: str | None = None
    ) -> None:
        """Signal a carrier's report on a package."""
        self.events += 1
        handle = self.client.get_workflow_handle(f"fulfillment-{fulfillment_id}")
        event = CarrierEvent(
            event_id=f"carrier-{self.events}",
            occurred_at=datetime.now(UTC),
            fulfillment_id=fulfillment_id,
            tracking_number=tracking or f"T-{fulfillment_id}-{package}-label",
            status=CarrierStatus(status),
        )
        await handle.signal("carrier_event", event)

    async def ship_and_deliver(self, fulfillment_id: str) -> None:
        """The node and the carrier do their part without a hitch."""
        await self.node_says(fulfillment_id, "packed")
        await self.until(lambda: fulfillment_id in self.wms.labels, "the label reaches the node")
        await self.node_says(fulfillment_id, "handed_over")
        await self.until_fulfillment(fulfillment_id, "shipped")
        await self.carrier_says(fulfillment_id, "delivered")

    async def until_label(self, fulfillment_id: str) -> None:
        """Wait until the label of the first package is stored."""

        def is_labelled() -> bool:
            with reading(self.engine) as session:
                return any(
                    x.tracking_number for x in fulfillments.packages(session, fulfillment_id)
                )

        await self.until(is_labelled, "the label is bought")

    async def reserved(self, order: dict[str, Any], **submit: Any) -> WorkflowHandle[Any, Any]:
        """Submit, and wait until its plan waits for release."""
        handle = await self.submit(order, **submit)
        await self.until_shown(handle, "reserved")
        await self.until_planned(order["order_id"])
        return handle

    async def at_node(
        self, order: dict[str, Any], *, status: str = "acknowledged"
    ) -> WorkflowHandle[Any, Any]:
        """Submit and release: the first fulfillment is with its node."""
        handle = await self.submit(order)
        await self.until_planned(order["order_id"])
        await self.skip(minutes=31)
        await self.until_fulfillment(f"{order['order_id']}-1", status)
        return handle

    async def until_planned(self, order_id: str = "W-1", version: int = 1) -> None:
        """Wait until that plan of the order is reserved; a late one is released at once."""

        def is_planned() -> bool:
            page = self.page(order_id)
            waits = sum(line.quantities.open for line in page.lines)
            return page.plan_version >= version and waits == 0

        await self.until(is_planned, f"plan {version} is reserved")

    async def sent_again(self, fulfillment_id: str, *, plan: int = 2) -> None:
        """What came back is planned, released, shipped and delivered by another node."""
        await self.until_planned(fulfillment_id[:3], plan)
        await self.skip(minutes=31)
        await self.until_fulfillment(fulfillment_id, "acknowledged")
        await self.ship_and_deliver(fulfillment_id)

    async def result(self, handle: WorkflowHandle[Any, Any]) -> tuple[str, int, int]:
        """Wait, without skipping time, until the order ends: stage, delivered, cancelled units."""

        async def is_closed() -> bool:
            status = (await self._info(handle.id)).status
            return status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING

        try:
            await self.until(is_closed, "the order ends")
        except AssertionError:
            report = await self.report(handle)
            raise AssertionError(f"the order did not end:\n{report.details}") from None
        result: OrderResult = await handle.result()
        return result.stage.value, result.delivered_units, result.cancelled_units

    def quantities(self, order_id: str = "W-1") -> dict[str, dict[str, int]]:
        """Line id -> where its units are, as the read model shows; only what is not zero."""
        return {
            line.line_id: {
                bucket.value: line.quantities.at(bucket)
                for bucket in Bucket
                if line.quantities.at(bucket)
            }
            for line in self.page(order_id).lines
        }

    def statuses(self, order_id: str = "W-1") -> dict[str, str]:
        """Fulfillment id -> status, as the read model shows."""
        found = self.page(order_id).fulfillments
        return {x.fulfillment_id: x.status.value for x in found}

    def story(self, order_id: str = "W-1") -> list[str]:
        """The texts of the order's timeline."""
        return [entry.text for entry in self.page(order_id).timeline]

    def position(self, node_id: str, sku: str = "TEA") -> Position:
        """A stock position."""
        with reading(self.engine) as session:
            return inventory.position(session, node_id, sku)

    def child(self, fulfillment_id: str) -> WorkflowHandle[Any, Any]:
        """The workflow of a fulfillment."""
        return self.client.get_workflow_handle(
            f"fulfillment-{fulfillment_id}", result_type=FulfillmentResult
        )

    async def until_asked(self, fulfillment_id: str, step: str) -> str:
        """Wait until a fulfillment's step waits for a person; its park id."""
        found: list[str] = []

        def asks() -> bool:
            pages = {x.fulfillment_id: x for x in self.page(fulfillment_id[:3]).fulfillments}
            attention = pages[fulfillment_id].attention
            found[:] = [attention.park_id] if attention and attention.step == step else []
            return bool(found)

        await self.until(asks, f"{fulfillment_id} asks a person about {step}")
        return found[0]

    async def until_asked_anew(self, fulfillment_id: str, park_id: str) -> str:
        """Wait until a fulfillment asks something else; its park id."""
        found: list[str] = []

        def asks() -> bool:
            pages = {x.fulfillment_id: x for x in self.page(fulfillment_id[:3]).fulfillments}
            attention = pages[fulfillment_id].attention
            found[:] = [attention.park_id] if attention else []
            return bool(found) and found != [park_id]

        await self.until(asks, f"{fulfillment_id} asks something else than {park_id}")
        return found[0]

    async def choose(self, handle: WorkflowHandle[Any, Any], park_id: str, choice: str) -> None:
        """A person answers a parked step."""
        answer = Resume(request_id=f"{park_id}/{choice}", park_id=park_id, choice=Choice(choice))
        await handle.signal("resume", answer)

    async def cancel(
        self,
        handle: WorkflowHandle[Any, Any],
        request_id: str = "c-1",
        lines: dict[str, int] | None = None,
    ) -> None:
        """A person cancels all, or so many units by line."""
        wanted = None
        if lines is not None:
            wanted = tuple(CancelLine(line_id=x, quantity=n) for x, n in lines.items())
        await handle.signal("cancel", Cancel(request_id=request_id, lines=wanted))

    async def answer(self, handle: WorkflowHandle[Any, Any], text: str) -> None:
        """Wait until the order's own story says that."""
        seen: list[str] = []

        async def says() -> bool:
            timeline = await handle.query(OrderWorkflow.timeline)
            seen[:] = [entry.text for entry in timeline.entries]
            return any(text in one for one in seen)

        try:
            await self.until(says, text)
        except AssertionError:
            raise AssertionError(f"nothing says '{text}': {seen}") from None

    async def until_continued(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Wait until the workflow has continued as new."""

        async def is_second_run() -> bool:
            history: Any = await handle.fetch_history()
            start = history.events[0].workflow_execution_started_event_attributes
            return bool(start.continued_execution_run_id)

        await self.until(is_second_run, "it continued as new")

    async def attributes(self, workflow_id: str) -> dict[str, Any]:
        """The search attributes of a workflow."""
        found = (await self._info(workflow_id)).search_attributes.indexed_fields
        values = {name: json.loads(payload.data or "null") for name, payload in found.items()}
        return {name: value for name, value in values.items() if value not in (None, [], [None])}

    async def _info(self, workflow_id: str) -> WorkflowExecutionInfo:
        """The server's own words: the SDK cannot read a date this server holds as unset."""
        described = await self.client.workflow_service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(
                namespace=self.client.namespace,
                execution=WorkflowExecution(workflow_id=workflow_id),
            )
        )
        return described.workflow_execution_info

    async def until_attribute(self, workflow_id: str, name: str, value: Any) -> None:
        """Wait until a search attribute has that value; None: until it has none."""

        async def has() -> bool:
            return bool((await self.attributes(workflow_id)).get(name) == value)

        await self.until(has, f"{name} is {value}")

    async def plain_history(self, workflow_id: str) -> str:
        """All that a history says, its payloads readable."""
        history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        return "\n".join(
            value.decode(errors="replace") for event in history.events for value in _texts(event)
        )

    def nothing_is_astray(self) -> None:
        """The books are right, no order holds anything any more, nothing was handed over twice."""
        self.books_agree()
        for system in (self.wms, self.pos, self.threepl):
            assert len(system.handovers) == len(set(system.handovers))

    def page(self, order_id: str = "W-1") -> OrderPage:
        with reading(self.engine) as session:
            return order_pages.order_page(session, order_id)

    def books_agree(self) -> None:
        """The books are right, and closed orders hold nothing."""
        self.books_are_right()
        with reading(self.engine) as session:
            found = reporting.consistency(session)
        assert {name: units for name, units in found.items() if units} == {}

    def books_are_right(self) -> None:
        """Every unit is explained by the ledger and none is oversold."""
        with reading(self.engine) as session:
            assert inventory.unexplained(session) == []
            assert inventory.oversold(session) == []

    async def brokering(self, run_id: str = "brokering-1", **settings: Any) -> BrokeringRun:
        """Let a brokering run do its work, without skipping time; what it did."""
        await self.client.start_workflow(
            BrokeringWorkflow.run,
            BrokeringInput(**settings),
            id=run_id,
            task_queue=self.settings.orders_task_queue,
        )

        async def is_closed() -> bool:
            status = (await self._info(run_id)).status
            return status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING

        await self.until(is_closed, "the run ends")
        with reading(self.engine) as session:
            return brokering.run(session, run_id)

    def put(self, workflow_id: str, name: str, payload: dict[str, Any]) -> None:
        """What the API does with a person's command: keep it in the inbox."""
        with transaction(self.engine) as session:
            inbox.put(
                session,
                kind="signal",
                name=name,
                payload=payload,
                workflow_id=workflow_id,
                stream=workflow_id,
                now=datetime.now(UTC),
            )

    async def skip(self, **duration: float) -> None:
        """Let that much time pass, on the server and on the clock of the dispatcher."""
        self.skipped += timedelta(**duration)
        await self.env.sleep(timedelta(**duration))

    def now(self) -> datetime:
        """The world's time."""
        return datetime.now(UTC) + self.skipped + timedelta(seconds=1)


def _texts(message: Message) -> Iterator[bytes]:
    """Every string and payload of a protobuf message, whatever it is nested in."""
    for _, value in message.ListFields():
        values: Iterable[Any] = [value]
        if isinstance(value, Mapping):
            values = [*value.keys(), *value.values()]
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            values = value
        for one in values:
            if isinstance(one, Message):
                yield from _texts(one)
            elif isinstance(one, str):
                yield one.encode()
            elif isinstance(one, bytes):
                yield one


class LostAnswers(Interceptor):
    """While the world says so, the answer to each step's first attempt is lost on its way."""

    def __init__(self, world: World) -> None:
        self.world = world

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 (the SDK's name)
        return _LosesAnswers(next, self.world)


class _LosesAnswers(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, world: World) -> None:
        super().__init__(following)
        self.world = world

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 (the SDK's name)
        refusal = self.world.refusals.get(activity.info().activity_type)
        if refusal is not None:
            raise ApplicationError(refusal, non_retryable=True)
        answer = await super().execute_activity(input)
        if self.world.loses_answers and activity.info().attempt == 1:
            raise ApplicationError("the answer is lost", next_retry_delay=timedelta(milliseconds=5))
        return answer


@asynccontextmanager
async def running(world: World, *, is_versioned: bool = False) -> AsyncIterator[World]:
    """Workers and the dispatcher at work. A real server hands tasks to a current version only."""
    context = world.context
    wakeup = Wakeup()
    intake = Intake(world.engine, world.reference)
    dispatcher = Dispatcher(
        world.settings,
        world.engine,
        world.reference,
        Capture(world.engine, world.reference, intake),
        wakeup,
        world.now,
    )

    async def client() -> Client:
        return world.client

    version = deployment_config(world.settings) if is_versioned else None
    with ThreadPoolExecutor(8) as threads:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                Worker(
                    world.client,
                    task_queue=world.settings.orders_task_queue,
                    workflows=[OrderWorkflow, FulfillmentWorkflow, BrokeringWorkflow],
                    deployment_config=version,
                    activities=order_activities(context),
                    activity_executor=threads,
                    interceptors=[LostAnswers(world), WordsApart(world.engine)],
                )
            )
            for connection in sample_network().connections:
                await stack.enter_async_context(
                    Worker(
                        world.client,
                        task_queue=connection.task_queue,
                        deployment_config=version,
                        activities=outside_activities(context),
                        activity_executor=threads,
                        interceptors=[LostAnswers(world), WordsApart(world.engine)],
                    )
                )
            if is_versioned:
                await set_current(world.client, world.settings)
            task = asyncio.create_task(dispatcher.run(client))
            try:
                yield world
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def settings_for(folder: Path) -> Settings:
    return Settings(home=folder, database_url=f"sqlite:///{folder / 'doms.db'}")


__all__ = [
    "LineFact",
    "World",
    "document",
    "reporting",
    "running",
    "sample_network",
    "settings_for",
]
