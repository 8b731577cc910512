"""Who was asked to approve what, and every vote, counted or not."""

from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from domain.values import Model, UtcTime
from store.columns import changed, query, statement

Verdict = Literal["approve", "reject"]

_ASK = statement(
    "INSERT INTO approvals (order_id, level, role, asked_at, expires_at)"
    " VALUES (:order_id, :level, :role, :asked_at, :expires_at)"
    " ON CONFLICT (order_id, level) DO UPDATE SET role = excluded.role,"
    " expires_at = excluded.expires_at WHERE approvals.outcome IS NULL",
    "approvals",
)
_VOTE = statement(
    "INSERT INTO approval_votes (order_id, level, request_id, approver, role, verdict, counted,"
    " why, at) VALUES (:order_id, :level, :request_id, :approver, :role, :verdict, :counted,"
    " :why, :at) ON CONFLICT DO NOTHING",
    "approval_votes",
)
_CLOSE = statement(
    "UPDATE approvals SET outcome = :outcome, closed_at = :closed_at"
    " WHERE order_id = :order_id AND level = :level AND outcome IS NULL",
    "approvals",
)
_WAITING = (
    "SELECT a.order_id, a.level, a.role, a.asked_at, a.expires_at, o.brand, o.region, o.total,"
    " o.currency FROM approvals a LEFT JOIN orders o ON o.order_id = a.order_id"
    " WHERE a.outcome IS NULL{role} ORDER BY a.asked_at, a.order_id, a.level"
)
_WAITING_ALL = query(_WAITING.format(role=""), "approvals", "orders")
_WAITING_ROLE = query(_WAITING.format(role=" AND a.role = :role"), "approvals", "orders")
_VOTES = query(
    "SELECT v.level, v.request_id, v.approver, v.role, v.verdict, v.counted, v.why, v.at,"
    " COALESCE(w.text, '') AS comment FROM approval_votes v LEFT JOIN words w"
    " ON w.order_id = v.order_id AND w.key = 'request/' || v.request_id"
    " WHERE v.order_id = :order_id ORDER BY v.at, v.level, v.request_id",
    "approval_votes",
    "words",
)


_LEVELS = query(
    "SELECT level, role, asked_at, expires_at, outcome, closed_at FROM approvals"
    " WHERE order_id = :order_id ORDER BY level",
    "approvals",
)


_COMMENTS = query(
    "SELECT v.order_id, w.text FROM approval_votes v JOIN words w"
    " ON w.order_id = v.order_id AND w.key = 'request/' || v.request_id"
    " WHERE v.order_id IN :order_ids ORDER BY v.at, v.request_id",
    "approval_votes",
    "words",
    lists=["order_ids"],
)


class WaitingApproval(Model):
    """A level of an order that waits for somebody with the role."""

    order_id: str
    level: int
    role: str
    asked_at: UtcTime
    expires_at: UtcTime | None = None
    brand: str | None = None
    region: str | None = None
    total: str | None = None
    currency: str | None = None
    comments: tuple[str, ...] = ()
    """What was said with the votes on this order so far, oldest first."""


class ApprovalLevel(Model):
    """A level that was asked, and how it ended, if it did."""

    level: int
    role: str
    asked_at: UtcTime
    expires_at: UtcTime | None = None
    outcome: str | None = None
    closed_at: UtcTime | None = None


class Vote(Model):
    """Somebody's vote; `why` says why it did not count."""

    level: int
    request_id: str
    approver: str
    role: str
    verdict: str
    comment: str = ""
    counted: bool
    why: str
    at: UtcTime


def ask(
    session: Session,
    order_id: str,
    level: int,
    role: str,
    asked_at: datetime,
    expires_at: datetime | None,
) -> None:
    """Ask a role; asking again while it waits changes the role (escalation) and the end."""
    session.execute(
        _ASK,
        {
            "order_id": order_id,
            "level": level,
            "role": role,
            "asked_at": asked_at,
            "expires_at": expires_at,
        },
    )


def record_vote(
    session: Session,
    order_id: str,
    level: int,
    request_id: str,
    approver: str,
    role: str,
    verdict: Verdict,
    counted: bool,
    why: str,
    at: datetime,
) -> bool:
    """Keep a vote, whether it counted or not; False when that request was recorded before."""
    row = {
        "order_id": order_id,
        "level": level,
        "request_id": request_id,
        "approver": approver,
        "role": role,
        "verdict": verdict,
        "counted": counted,
        "why": why,
        "at": at,
    }
    return changed(session, _VOTE, row) == 1


def close(session: Session, order_id: str, level: int, outcome: str, at: datetime) -> bool:
    """A level waits no longer: approved, rejected, expired or withdrawn; False if it did not."""
    row = {"order_id": order_id, "level": level, "outcome": outcome, "closed_at": at}
    return changed(session, _CLOSE, row) == 1


def waiting(session: Session, role: str | None = None) -> list[WaitingApproval]:
    """What waits, of one role or of all, longest first."""
    sql = _WAITING_ALL if role is None else _WAITING_ROLE
    rows = session.execute(sql, {} if role is None else {"role": role}).mappings()
    found = [WaitingApproval.model_validate(dict(row)) for row in rows]
    if not found:
        return found
    ids = sorted({approval.order_id for approval in found})
    comments: dict[str, list[str]] = {}
    for row in session.execute(_COMMENTS, {"order_ids": ids}):
        comments.setdefault(row.order_id, []).append(row.text)
    return [x.model_copy(update={"comments": tuple(comments.get(x.order_id, ()))}) for x in found]


def votes(session: Session, order_id: str) -> list[Vote]:
    """Every vote on an order, oldest first."""
    rows = session.execute(_VOTES, {"order_id": order_id}).mappings()
    return [Vote.model_validate(dict(row)) for row in rows]


def decided_by(session: Session, order_id: str, approver: str) -> list[int]:
    """The levels of an order on which a person's votes counted, lowest first."""
    found = (x.level for x in votes(session, order_id) if x.counted and x.approver == approver)
    return sorted(found)


def levels(session: Session, order_id: str) -> list[ApprovalLevel]:
    """Every level that an order was asked for, lowest first."""
    rows = session.execute(_LEVELS, {"order_id": order_id}).mappings()
    return [ApprovalLevel.model_validate(dict(row)) for row in rows]
