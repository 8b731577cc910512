"""The composition root: from settings to an engine, a Temporal client and the activities."""

import os
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Engine
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime

from activities.approval import ApprovalActivities
from activities.brokering import BrokeringActivities
from activities.change import ChangeActivities
from activities.context import Context
from activities.deliver import DeliverActivities
from activities.give_back import GiveBackActivities
from activities.learn_dates import LearnDatesActivities
from activities.nodes import NodesActivities
from activities.orders import OrderActivities
from activities.pick import PickActivities
from activities.promise import PromiseActivities
from activities.release import ReleaseActivities
from activities.reserve import ReserveActivities
from activities.route import RouteActivities
from activities.ship import ShipActivities
from config.settings import Settings
from integrations.registry import Carriers, NodeSystems
from store.engine import open_engine
from worker.plugin import doms_plugin

Activity = Callable[..., Any]


async def connect(
    settings: Settings, *, lazy: bool = False, runtime: Runtime | None = None
) -> Client:
    """A client of the Temporal server.

    The standard environment (TEMPORAL_ADDRESS, TEMPORAL_API_KEY, TLS, a profile file) wins over
    doms's own settings, so that any cluster or Temporal Cloud works without a change.
    """
    config: dict[str, Any] = {
        "target_host": settings.temporal_address,
        "namespace": settings.temporal_namespace,
        **ClientConfig.load_client_connect_config(),
    }
    return await Client.connect(lazy=lazy, runtime=runtime, plugins=[doms_plugin()], **config)


def engine_of(settings: Settings) -> Engine:
    """The store's engine."""
    return open_engine(settings.database)


def context_of(engine: Engine, settings: Settings) -> Context:
    """What activities work with; secrets are read from the environment by name."""
    return Context(
        engine=engine,
        node_systems=NodeSystems(os.environ),
        carriers=Carriers(os.environ),
        local_may_vote=not settings.needs_api_key,
        api_url=settings.base_url,
    )


def order_activities(context: Context) -> list[Activity]:
    """Steps that only touch the store: they run on the orders' queue."""
    orders = OrderActivities(context)
    promise = PromiseActivities(context)
    route = RouteActivities(context)
    reserve = ReserveActivities(context)
    release = ReleaseActivities(context)
    approval = ApprovalActivities(context)
    change = ChangeActivities(context)
    deliver = DeliverActivities(context)
    give_back = GiveBackActivities(context)
    pick = PickActivities(context)
    brokering = BrokeringActivities(context)
    return [
        orders.check_approval,
        orders.record,
        promise.promise,
        route.route,
        route.load_plan,
        reserve.reserve,
        reserve.free,
        reserve.backorder,
        reserve.drop_backorder,
        reserve.take_grant,
        reserve.expire_holds,
        release.claim_release,
        approval.record_approval,
        approval.check_voter,
        change.use_address,
        change.load_version,
        deliver.hand_over,
        deliver.deliver,
        deliver.final_report,
        give_back.give_back,
        give_back.end_fulfillment,
        pick.pick,
        LearnDatesActivities(context).learn_delivery_dates,
        NodesActivities(context).plan_on_nodes,
        brokering.start_brokering,
        brokering.rebroker,
        brokering.finish_brokering,
    ]


def outside_activities(context: Context) -> list[Activity]:
    """Calls to other companies' systems: they run on the queue of their connection."""
    pick = PickActivities(context)
    ship = ShipActivities(context)
    give_back = GiveBackActivities(context)
    return [
        pick.pick,
        pick.remind,
        pick.update_address,
        pick.pickup_expired,
        ship.ship,
        ship.void_labels,
        give_back.request_cancel,
    ]
