"""Policies over HTTP: published once and never changed, activated per scope, listed."""

from enum import StrEnum
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from config.policy_files import POLICY_MODELS, policy_schema, policy_warnings
from domain.orders import OrderType
from domain.values import Id, Model
from starter.api.context import PathId, RawBody, TheCaller, TheServices, body_as, json_body
from starter.api.problems import InvalidDocumentError, ProblemError, field_errors
from starter.auth import ANALYST, OPERATIONS, SUPPORT, require
from starter.differences import differences, whole_policy
from store import pins, policies
from store.engine import reading, transaction
from store.policies import Scope

router = APIRouter(prefix="/policies", tags=["policies"])


class PolicyKind(StrEnum):
    """What a policy decides."""

    ROUTING = "routing"
    PROCESS = "process"


class PublishBody(Model):
    """A policy document, checked whole before it is kept."""

    kind: PolicyKind
    document: dict[str, Any]


class ScopeBody(Model):
    """Whose orders: every part left out means all."""

    brand: Id | None = None
    region: Id | None = None
    order_type: OrderType | None = None
    channel: Id | None = None


@router.get("")
def list_policies(services: TheServices, caller: TheCaller) -> JSONResponse:
    """Every published version, and where it is active."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        found = policies.list_policies(session)
    return JSONResponse({"policies": [policy.model_dump(mode="json") for policy in found]})


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


@router.post("/{version}/activate", openapi_extra=json_body(ScopeBody))
def activate(
    version: PathId, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Let new orders of that scope take this version; orders under way keep theirs."""
    require(caller, OPERATIONS)
    scope = body_as(ScopeBody, raw)
    with transaction(services.engine) as session:
        policies.activate(session, version, Scope(**scope.model_dump()), services.clock())
    return JSONResponse({"version": version, "scope": scope.model_dump(mode="json")})


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
