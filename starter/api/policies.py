"""Policies over HTTP: published once and never changed, activated per scope, listed."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, Field, ValidationError

from config.policy_files import POLICY_MODELS, policy_schema, policy_warnings
from domain.guardrails import Guardrail, measures, parse_guardrail
from domain.orders import OrderType
from domain.policy_rollout import Percent, Scope, Terms
from domain.policy_warnings import scope_warnings
from domain.values import Id, Model, Text, UtcTime
from starter.api.context import PathId, RawBody, TheCaller, TheServices, body_as, json_body
from starter.api.problems import FieldError, InvalidDocumentError, ProblemError, field_errors
from starter.auth import ANALYST, OPERATIONS, SUPPORT, require
from starter.differences import differences, whole_policy
from starter.times import utc_text
from store import pins, policies, policy_alerts, policy_measures
from store.engine import reading, transaction

router = APIRouter(prefix="/policies", tags=["policies"])


class PolicyKind(StrEnum):
    """What a policy decides."""

    ROUTING = "routing"
    PROCESS = "process"


class PublishBody(Model):
    """A policy document, checked whole before it is kept."""

    kind: PolicyKind
    document: dict[str, Any]


class ActivationBody(Model):
    """Whose orders (every part left out means all), which share of them, and from when to when.

    `guardrails` are written as `split_rate<=0.25`.
    """

    brand: Id | None = None
    region: Id | None = None
    order_type: OrderType | None = None
    channel: Id | None = None
    share: Percent = 100
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None
    guardrails: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    minimum_orders: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 100
    rolls_back: bool = False

    @property
    def scope(self) -> Scope:
        """Whose orders."""
        return Scope(
            brand=self.brand, region=self.region, order_type=self.order_type, channel=self.channel
        )

    def terms(self, now: datetime) -> Terms:
        """All beside the scope. Raises InvalidDocumentError."""
        if self.ends_at is not None and self.ends_at <= now:
            raise InvalidDocumentError([FieldError("ends_at", "must be in the future")])
        limits = [_guardrail(number, text) for number, text in enumerate(self.guardrails)]
        fields = ("share", "starts_at", "ends_at", "minimum_orders", "rolls_back")
        try:
            return Terms(guardrails=tuple(limits), **{name: getattr(self, name) for name in fields})
        except ValidationError as error:
            raise InvalidDocumentError(field_errors(error)) from None


def _guardrail(number: int, text: str) -> Guardrail:
    try:
        return parse_guardrail(text)
    except ValueError as error:
        raise InvalidDocumentError([FieldError(f"guardrails.{number}", str(error))]) from None


@router.get("")
def list_policies(services: TheServices, caller: TheCaller) -> JSONResponse:
    """Every published version, where it is active, and the guardrails that broke there."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        found = policies.list_policies(session)
        alerts = policy_alerts.alerts(session)
    rows = []
    for policy in found:
        raised = alerts.get(policy.activation_id or 0, [])
        told = [alert.model_dump(mode="json") for alert in raised]
        rows.append({**policy.model_dump(mode="json"), "alerts": told})
    return JSONResponse({"policies": rows})


@router.get("/schema/{kind}")
def show_schema(kind: PolicyKind) -> JSONResponse:
    """The JSON schema of a policy document."""
    return JSONResponse(policy_schema(kind.value))


@router.get("/{version}")
def show_policy(version: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """One version's document."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        kind, document = policies.load_policy(session, version)
    return JSONResponse({"version": version, "kind": kind, "document": document})


@router.post("", status_code=201, openapi_extra=json_body(PublishBody))
def publish(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Keep a policy under its content's version; the same again gives the same version.

    `warnings` are of what can never apply or contradicts.
    """
    require(caller, OPERATIONS)
    body = body_as(PublishBody, raw)
    try:
        policy = POLICY_MODELS[body.kind.value].model_validate(body.document)
    except ValidationError as error:
        raise InvalidDocumentError(field_errors(error)) from error
    with transaction(services.engine) as session:
        version = policies.publish(
            session, body.kind.value, policy.model_dump(mode="json"), services.clock()
        )
    warnings = [one.told for one in policy_warnings(policy)]
    return JSONResponse({"version": version, "kind": body.kind.value, "warnings": warnings}, 201)


@router.post("/{version}/activate", openapi_extra=json_body(ActivationBody))
def activate(
    version: PathId, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Let new orders of that scope, or a share of their customers, take this version.

    Orders under way keep theirs. `warnings` say why it would not apply there.
    """
    require(caller, OPERATIONS)
    body, now = body_as(ActivationBody, raw), services.clock()
    terms = body.terms(now)
    with transaction(services.engine) as session:
        kind, document = policies.load_policy(session, version)
        activation_id = policies.activate(session, version, body.scope, now, terms)
    policy = POLICY_MODELS[kind].model_validate(document)
    return JSONResponse(
        {
            "version": version,
            "activation_id": activation_id,
            "scope": body.scope.model_dump(mode="json"),
            **terms.model_dump(mode="json", exclude={"guardrails"}),
            "guardrails": [str(one) for one in terms.guardrails],
            "warnings": [one.told for one in scope_warnings(policy, body.scope)],
        }
    )


@router.post("/{version}/deactivate")
def deactivate(version: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """End all activations of a version; the one before holds again.

    For new orders, and for those not released yet: they are pinned to what is active for them now,
    as their stories tell. Orders for which nothing else is active keep it, and are named.
    """
    require(caller, OPERATIONS)
    with transaction(services.engine) as session:
        withdrawal = pins.withdraw(session, version, services.clock())
    body = {"version": version, "status": "inactive", **withdrawal.model_dump(mode="json")}
    return JSONResponse(body)


@router.post("/{version}/rollback")
def roll_back(version: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """End the latest activation of a version, so that the one before holds again.

    What `deactivate` says of orders is true here; a version with several activations keeps the
    others.
    """
    require(caller, OPERATIONS)
    with transaction(services.engine) as session:
        withdrawal = pins.roll_back(session, version, services.clock())
        still = len(policies.live_activations(session, version))
    body = {"version": version, "still_active": still, **withdrawal.model_dump(mode="json")}
    return JSONResponse(body)


@router.get("/{version}/report")
def report(
    version: PathId,
    services: TheServices,
    caller: TheCaller,
    since: Annotated[AwareDatetime | None, Query()] = None,
) -> JSONResponse:
    """How the newest orders pinned to a version fare: counts, and the measures made of them."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        found, _ = policies.load_policy(session, version)
        kind: policies.Kind = "routing" if found == "routing" else "process"
        counts = policy_measures.counts(session, kind, version, services.clock(), since=since)
    body = {"version": version, "kind": kind, "since": utc_text(since) if since else None}
    return JSONResponse({**body, "counts": counts.model_dump(), "measures": measures(counts)})


@router.get("/{version}/diff/{other}")
def diff(version: PathId, other: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """What differs from one version to another, field by field."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        kind, before = policies.load_policy(session, version)
        other_kind, after = policies.load_policy(session, other)
    if kind != other_kind:
        raise ProblemError(409, f"'{version}' is a {kind} policy, '{other}' a {other_kind} policy")
    changes = differences(whole_policy(kind, before), whole_policy(kind, after))
    return JSONResponse(
        {
            "from": version,
            "to": other,
            "kind": kind,
            "changes": [change.as_json() for change in changes],
        }
    )
