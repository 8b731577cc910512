"""An order's running fulfillments, as what is asked of the order reaches them."""

from temporalio import workflow

from workflows.order_core import OrderCore

with workflow.unsafe.imports_passed_through():
    from domain.order_book import Track


def has_left(track: Track) -> bool:
    """Whether nothing of a fulfillment is at its node any more."""
    asked = sum(line.quantity for line in track.order.lines)
    gone = sum(x.shipped + x.cancelled + x.returned_to_order for x in track.lines.values())
    return gone >= asked


def tell(core: OrderCore, track: Track, signal: str, message: object) -> None:
    """Signal a fulfillment."""
    handle = workflow.get_external_workflow_handle(f"fulfillment-{track.order.fulfillment_id}")
    core.send(handle, signal, message)
