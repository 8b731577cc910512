"""What a change of a fulfillment newly means for stock, labels, its order and people."""

from collections import Counter

from domain.events import Shortfall
from domain.fulfillment_draft import Draft
from domain.fulfillment_scans import apply_early
from domain.fulfillment_state import FulfillmentState
from domain.values import Model

LineUnits = tuple[tuple[str, int], ...]
"""(Line id, units) pairs."""


class Effects(Model):
    """What a report newly changes and others must act on; empty for a repeated report."""

    shortfalls: tuple[Shortfall, ...] = ()
    """Units that newly return to the order; reason is a ShortReason, `rejected`, `lost`, ..."""
    needs_labels: bool = False
    handed_over_lines: LineUnits = ()
    """Units that newly left the node: stock to consume."""
    delivered_lines: LineUnits = ()
    cancelled: LineUnits = ()
    """Units newly cancelled: stock to free where they were still at the node."""
    needs_attention: str | None = None
    """A package is lost or came back: a person must choose."""
    duplicate: bool = False
    closed: bool = False


Outcome = tuple[FulfillmentState, Effects]


def finish(before: FulfillmentState, draft: Draft) -> Outcome:
    """Freeze the draft and say what changed."""
    apply_early(draft)
    after = draft.freeze()
    known = {line.line_id: line for line in before.lines}
    shortfalls = tuple(
        Shortfall(line_id=line.line_id, quantity=more, reason=reason)
        for line in after.lines
        for reason, units in line.given_back.items()
        if (more := units - known[line.line_id].given_back.get(reason, 0)) > 0
    )
    cancelled = [(x.line_id, x.cancelled - known[x.line_id].cancelled) for x in after.lines]
    return after, Effects(
        shortfalls=shortfalls,
        needs_labels=bool(after.unlabelled),
        handed_over_lines=_more(after, before.shipped, after.shipped),
        delivered_lines=_more(after, before.delivered, after.delivered),
        cancelled=tuple(x for x in cancelled if x[1] > 0),
        needs_attention=draft.trouble,
        closed=after.is_closed,
    )


def _more(state: FulfillmentState, before: Counter[str], after: Counter[str]) -> LineUnits:
    more = [(x.line_id, after[x.line_id] - before[x.line_id]) for x in state.lines]
    return tuple(x for x in more if x[1] > 0)
