"""Units that became sellable go to orders that wait for them, before anyone else can take them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from domain.values import Model
from store import ledger, outbox
from store.columns import query, statement
from store.engine import is_sqlite
from store.ledger import SELLABLE, Cause, Changes

_WAITED_FOR = query(
    "SELECT DISTINCT sku FROM backorders WHERE sku IN :skus AND quantity > 0",
    "backorders",
    lists=["skus"],
)
_WAITED_FOR_AT = query(
    "SELECT DISTINCT p.sku FROM positions p JOIN backorders b ON b.sku = p.sku"
    " WHERE p.node_id = :node_id AND b.quantity > 0 AND (:sku = '' OR p.sku = :sku)"
    " ORDER BY p.sku",
    "positions",
    "backorders",
)
_SELLABLE = query(
    f"SELECT {SELLABLE} AS ats FROM positions"  # noqa: S608 (own names)
    " WHERE sku = :sku AND node_id = :node_id",
    "positions",
)
_QUEUE = (
    "SELECT order_id, line_id, quantity, bundle FROM backorders"  # noqa: S608 (own names)
    " WHERE sku = :sku AND quantity > 0"
    " AND EXISTS (SELECT 1 FROM nodes WHERE nodes.node_id = :node_id AND nodes.active)"
    " AND NOT EXISTS (SELECT 1 FROM exclusions e WHERE e.node_id = :node_id"
    " AND e.sku IN ('', :sku) AND (e.until IS NULL OR e.until > :until_now))"
    " AND NOT EXISTS (SELECT 1 FROM cool_offs c WHERE c.node_id = :node_id"
    " AND c.sku IN ('', :sku) AND c.until > :until_now)"
    # Bundles that lack another SKU here do not count for the limit: those behind them are served.
    " AND (bundle IS NULL OR NOT EXISTS (SELECT 1 FROM backorders o LEFT JOIN positions p"
    " ON p.sku = o.sku AND p.node_id = :node_id WHERE o.order_id = backorders.order_id"
    " AND o.bundle = backorders.bundle AND o.sku <> backorders.sku"
    f" AND o.quantity > COALESCE({SELLABLE}, 0)))"
    " ORDER BY demand_class, CASE WHEN promise_at IS NULL THEN 1 ELSE 0 END, promise_at, since,"
    " order_id, line_id LIMIT :row_limit"
)
_QUEUE_SQLITE = query(_QUEUE, "backorders", "exclusions", "cool_offs")
# A row that its own order is changing right now is passed over: neither waits for the other.
_QUEUE_LOCKING = query(f"{_QUEUE} FOR UPDATE SKIP LOCKED", "backorders", "exclusions", "cool_offs")
_BUNDLE = (
    "SELECT line_id, sku, quantity FROM backorders WHERE order_id = :order_id"
    " AND bundle = :bundle AND quantity > 0 ORDER BY line_id"
)
_BUNDLE_SQLITE = query(_BUNDLE, "backorders")
_BUNDLE_LOCKING = query(f"{_BUNDLE} FOR UPDATE SKIP LOCKED", "backorders")
_THERE = (
    f"SELECT sku, {SELLABLE} AS ats FROM positions"  # noqa: S608 (own names)
    " WHERE node_id = :node_id AND sku IN :skus"
)
_THERE_SQLITE = query(_THERE, "positions", lists=["skus"])
# Others' positions are not waited for: everybody else locks them in order, and this is none.
_THERE_LOCKING = query(f"{_THERE} FOR UPDATE SKIP LOCKED", "positions", lists=["skus"])
_NUMBER = query(
    "INSERT INTO grants (order_id, granted_at) VALUES (:order_id, :granted_at) RETURNING id",
    "grants",
)
_RESERVE = statement(
    "INSERT INTO reservations (reservation_id, line_id, node_id, sku, order_id, quantity,"
    " reserved, released, consumed, freed, granted, counted) VALUES (:reservation_id, :line_id,"
    " :node_id, :sku, :order_id, :quantity, :quantity, 0, 0, 0, :granted, :counted)",
    "reservations",
)
_SERVE = statement(
    "UPDATE backorders SET quantity = quantity - :quantity"
    " WHERE order_id = :order_id AND line_id = :line_id",
    "backorders",
)
_SERVED = statement("DELETE FROM backorders WHERE sku = :sku AND quantity = 0", "backorders")


_TAKEN = ("held", "reserved", "released", "claimed", "safety_stock", "protected")
"""The buckets whose units are not sellable, as `SELLABLE` has them."""
_MOST_PASSED_OVER = 200
"""Lines that wait for others of their order, and are looked past in one go."""


class Grant(Model):
    """Units that arrived and were reserved for a line that waited for them."""

    reservation_id: str
    order_id: str
    line_id: str
    sku: str
    node_id: str
    quantity: int


def grants_of(result: Sequence[dict[str, object]]) -> tuple[Grant, ...]:
    """Grants as an operation kept them for repeats."""
    return tuple(Grant.model_validate(grant) for grant in result)


def grant_all(session: Session, changes: Changes, cause: Cause) -> list[Grant]:
    """Grant what these changes, already applied to locked positions, made sellable.

    Units come from supply and from whoever gives some back. Served by demand class, then promise,
    then wait; at nodes that are active, not excluded and not cooling off.
    Each order served gets a reservation `{order_id}-g{n}` and the signal `supply_granted`.
    """
    rising = sorted(pair for pair, buckets in changes.items() if _frees(buckets))
    if not rising:
        return []
    skus = sorted({sku for _, sku in rising})
    waited_for = set(session.execute(_WAITED_FOR, {"skus": skus}).scalars())
    grants: list[Grant] = []
    for node_id, sku in rising:
        if sku in waited_for:
            grants += _grant(session, node_id, sku, cause)
    return grants


def grant_at(session: Session, node_id: str, sku: str | None, cause: Cause) -> list[Grant]:
    """Grant what lies at a node that may be asked again, of one SKU or of all."""
    asked = {"node_id": node_id, "sku": sku or ""}
    skus = list(session.execute(_WAITED_FOR_AT, asked).scalars())
    ledger.lock_positions(session, [(node_id, one) for one in skus])
    return [grant for one in skus for grant in _grant(session, node_id, one, cause)]


def _frees(buckets: dict[str, int]) -> bool:
    return buckets.get("usable", 0) > sum(buckets.get(bucket, 0) for bucket in _TAKEN)


def _grant(session: Session, node_id: str, sku: str, cause: Cause) -> list[Grant]:
    left = session.execute(_SELLABLE, {"sku": sku, "node_id": node_id}).scalar_one()
    if left <= 0:
        return []
    sql = _QUEUE_SQLITE if is_sqlite(session) else _QUEUE_LOCKING
    most = left + _MOST_PASSED_OVER
    asked = {"sku": sku, "node_id": node_id, "row_limit": most, "until_now": cause.at}
    grants: list[Grant] = []
    numbers: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for order_id, line_id, wanted, bundle in session.execute(sql, asked).all():
        if left == 0:
            break
        units = [(line_id, sku, min(wanted, left))]
        if bundle is not None:
            whole = (order_id, bundle)
            units = [] if whole in seen else _whole(session, node_id, whole, {sku: left}, grants)
            seen.add(whole)
        if units and order_id not in numbers:
            row = {"order_id": order_id, "granted_at": cause.at}
            numbers[order_id] = f"{order_id}-g{session.execute(_NUMBER, row).scalar_one()}"
        for line, of_sku, quantity in units:
            left -= quantity if of_sku == sku else 0
            grants.append(
                Grant(
                    reservation_id=numbers[order_id],
                    order_id=order_id,
                    line_id=line,
                    sku=of_sku,
                    node_id=node_id,
                    quantity=quantity,
                )
            )
    if grants:
        _hand_out(session, sku, grants, cause)
    return grants


def _whole(
    session: Session,
    node_id: str,
    whole: tuple[str, str],
    left: Mapping[str, int],
    granted: Sequence[Grant],
) -> list[tuple[str, str, int]]:
    """(line id, SKU, units) of all that waits of a bundle; empty where the node lacks some of it.

    `left`: what earlier grants left of the SKU that came; `granted` are not yet taken off others.
    """
    order_id, bundle = whole
    is_file = is_sqlite(session)
    asked = {"order_id": order_id, "bundle": bundle}
    rows = session.execute(_BUNDLE_SQLITE, asked).all()
    if not is_file and session.execute(_BUNDLE_LOCKING, asked).all() != rows:
        # Somebody changes one of its lines right now: the rest alone would not be all of it.
        return []
    needs: dict[str, int] = {}
    for row in rows:
        needs[row.sku] = needs.get(row.sku, 0) + row.quantity
    others = sorted(needs.keys() - left.keys())
    there = dict(left)
    if others:
        sql = _THERE_SQLITE if is_file else _THERE_LOCKING
        there |= {x.sku: x.ats for x in session.execute(sql, {"node_id": node_id, "skus": others})}
        for grant in granted:
            if grant.sku in others:
                there[grant.sku] -= grant.quantity
    if any(units > there.get(sku, 0) for sku, units in needs.items()):
        return []
    return [(row.line_id, row.sku, row.quantity) for row in rows]


def _hand_out(session: Session, sku: str, grants: Sequence[Grant], cause: Cause) -> None:
    rows = [{**grant.model_dump(), "granted": True, "counted": True} for grant in grants]
    session.execute(_RESERVE, rows)
    session.execute(_SERVE, rows)
    claimed: Changes = {}
    along: Changes = {}
    for grant in grants:
        changes = claimed if grant.sku == sku else along
        ledger.add(changes, grant.node_id, grant.sku, "claimed", grant.quantity)
    for served in sorted({grant.sku for grant in grants}):
        session.execute(_SERVED, {"sku": served})
    ledger.apply(session, claimed, cause)
    # The same SKUs may come by themselves in this operation too.
    ledger.apply(session, along, replace(cause, key=f"{cause.key}/with/{sku}"))
    for reservation_id, order_id in sorted({(x.reservation_id, x.order_id) for x in grants}):
        outbox.send(
            session,
            f"order-{order_id}",
            "supply_granted",
            {"request_id": reservation_id, "reservation_id": reservation_id},
            key=f"supply_granted/{reservation_id}",
            now=cause.at,
        )
