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
