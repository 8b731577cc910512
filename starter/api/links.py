"""Where things are found: workflow ids and the addresses that answers carry."""

from urllib.parse import quote

from config.settings import Settings


def workflow_of(order_id: str) -> str:
    """The workflow id of an order."""
    return f"order-{order_id}"


def fulfillment_workflow_of(fulfillment_id: str) -> str:
    """The workflow id of a fulfillment."""
    return f"fulfillment-{fulfillment_id}"


def temporal_link(settings: Settings, workflow_id: str) -> str:
    """The workflow's page in the Temporal UI."""
    namespace = quote(settings.temporal_namespace, safe="")
    return f"{settings.temporal_ui}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}"


def order_links(settings: Settings, order_id: str) -> dict[str, str]:
    """An order's own page and its workflow's."""
    return {
        "self": f"{settings.base_url}/v1/orders/{quote(order_id, safe='')}",
        "temporal_ui": temporal_link(settings, workflow_of(order_id)),
    }


def page_links(
    settings: Settings, decision_id: str | None, tracking_token: str | None
) -> dict[str, str]:
    """Where an order's last decision is explained, and where its customer follows it."""
    found = {}
    if decision_id is not None:
        path = f"/v1/decisions/{quote(decision_id, safe='')}/explain"
        found["decision"] = f"{settings.base_url}{path}"
    if tracking_token is not None:
        found["track"] = f"{settings.base_url}/v1/track/{quote(tracking_token, safe='')}"
    return found
