"""Who is told what happens to orders: subscribe, list, change the secret, end it."""

import base64
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field, field_validator, model_validator
from pydantic.types import StringConstraints

from domain.order_events import VOCABULARY, covers
from domain.values import Id, Model
from integrations.event_posting import RefusedTargetError, refuse_target
from integrations.standard_webhooks import signer
from starter.api.context import (
    PathId,
    RawBody,
    Services,
    TheCaller,
    TheServices,
    body_as,
    json_body,
)
from starter.api.problems import FieldError, InvalidDocumentError
from starter.auth import OPERATIONS, SUPPORT, require
from starter.times import utc_text
from store import event_deliveries, subscriptions
from store.engine import reading, transaction
from store.subscriptions import Secret, Subscription, SubscriptionState

router = APIRouter(prefix="/subscriptions", tags=["events"])

_SECRET_BYTES = 32
_SHORTEST_SECRET, _LONGEST_SECRET = 24, 64
_VARIABLE = re.compile(r"EVENTS_SECRET[A-Z0-9_]{0,64}")
_KEPT_HOURS = 24

Url = Annotated[str, StringConstraints(max_length=2_000, strip_whitespace=True, min_length=1)]


class SecretBody(Model):
    """What events are signed with: given, or in a variable, or else made by doms."""

    secret: str | None = None
    """`whsec_` and 24 to 64 bytes in base64."""
    secret_env: str | None = None
    """The variable of the API's process that holds it; its name begins EVENTS_SECRET."""

    @field_validator("secret")
    @classmethod
    def _is_a_secret(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            signer(value)
            size = len(base64.b64decode(value.removeprefix("whsec_")))
        except ValueError:
            size = 0
        if not _SHORTEST_SECRET <= size <= _LONGEST_SECRET:
            raise ValueError("must be whsec_ and 24 to 64 random bytes in base64")
        return value

    @field_validator("secret_env")
    @classmethod
    def _is_our_variable(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("must begin EVENTS_SECRET, in capitals, digits and _")
        return value

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "SecretBody":
        if self.secret is not None and self.secret_env is not None:
            raise ValueError("give secret or secret_env, not both")
        return self

    def chosen(self) -> tuple[Secret, str | None]:
        """What is kept, and the secret that is shown once because doms made it."""
        if self.secret_env is not None:
            return Secret(variable=self.secret_env), None
        if self.secret is not None:
            return Secret(value=self.secret), None
        made = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        return Secret(value=made), made


class SubscriptionBody(SecretBody):
    """Whom to tell, which events, of which orders."""

    url: Url
    event_types: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)] = ("*",)
    """Types, or a group of them such as `order.*`, or `*`."""
    brand: Id | None = None
    channel: Id | None = None

    @field_validator("event_types")
    @classmethod
    def _are_known(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            is_group = pattern == "*" or pattern.endswith(".*") or "*" not in pattern
            if not is_group or not any(covers(pattern, known) for known in VOCABULARY):
                raise ValueError(f"no event is '{pattern[:64]}': see GET /v1/events/types")
        return tuple(dict.fromkeys(patterns))


class NewSecretBody(SecretBody):
    """A new secret, and how long the one before still signs beside it."""

    keep_hours: Annotated[int, Field(ge=0, le=24 * 30)] = _KEPT_HOURS


@router.post("", status_code=201, openapi_extra=json_body(SubscriptionBody))
def subscribe(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Tell that address what happens from now on. A secret that doms makes is shown here, once."""
    require(caller, OPERATIONS)
    body = body_as(SubscriptionBody, raw)
    _refuse_private(services, body.url)
    secret, shown = body.chosen()
    with transaction(services.engine) as session:
        subscription_id = subscriptions.add(
            session,
            body.url,
            body.event_types,
            secret,
            created_by=caller.name,
            now=services.clock(),
            brand=body.brand,
            channel=body.channel,
        )
        kept = subscriptions.subscription(session, subscription_id)
    return JSONResponse({**_shown(kept, services), **_once(shown)}, 201)


def _refuse_private(services: Services, url: str) -> None:
    try:
        refuse_target(url, services.settings.events_private_networks)
    except RefusedTargetError as refusal:
        raise InvalidDocumentError([FieldError("url", str(refusal))]) from None


def _once(secret: str | None) -> Mapping[str, str]:
    return {} if secret is None else {"secret": secret}


@router.get("")
def list_subscriptions(services: TheServices, caller: TheCaller) -> JSONResponse:
    """Who is told what, oldest first, without the secrets."""
    require(caller, OPERATIONS, SUPPORT)
    with reading(services.engine) as session:
        found = subscriptions.subscriptions(session)
    return JSONResponse({"subscriptions": [_shown(x, services) for x in found.values()]})


@router.delete("/{subscription_id}", status_code=204)
def unsubscribe(subscription_id: PathId, services: TheServices, caller: TheCaller) -> Response:
    """Tell it nothing any more; what waits for it is dropped, and its secret forgotten."""
    require(caller, OPERATIONS)
    with transaction(services.engine) as session:
        subscriptions.set_state(session, subscription_id, SubscriptionState.REMOVED)
        event_deliveries.drop_all(session, subscription_id)
    return Response(status_code=204)


@router.post("/{subscription_id}/enable")
def enable(subscription_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Tell it again what happens from now on, after its receiver had answered 410."""
    require(caller, OPERATIONS)
    with transaction(services.engine) as session:
        subscriptions.set_state(session, subscription_id, SubscriptionState.ACTIVE)
        kept = subscriptions.subscription(session, subscription_id)
    return JSONResponse(_shown(kept, services))


@router.post("/{subscription_id}/secret", openapi_extra=json_body(NewSecretBody))
def change_secret(
    subscription_id: PathId, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Sign with another secret; for `keep_hours` with the one before as well."""
    require(caller, OPERATIONS)
    body = body_as(NewSecretBody, raw)
    secret, shown = body.chosen()
    now = services.clock()
    with transaction(services.engine) as session:
        keep_until = now + timedelta(hours=body.keep_hours)
        subscriptions.change_secret(
            session, subscription_id, secret, keep_until=keep_until, now=now
        )
        kept = subscriptions.subscription(session, subscription_id)
    return JSONResponse({**_shown(kept, services), **_once(shown)})


def _shown(kept: Subscription, services: Services) -> dict[str, Any]:
    """A subscription without its secrets."""
    now = services.clock()
    return {
        "subscription_id": kept.subscription_id,
        "url": kept.url,
        "event_types": list(kept.event_types),
        "brand": kept.brand,
        "channel": kept.channel,
        "state": kept.state.value,
        "why": kept.why,
        "created_by": kept.created_by,
        "created_at": utc_text(kept.created_at),
        "signed_with": [
            {
                "from": x.variable or "the database",
                "until": utc_text(x.until) if x.until else None,
            }
            for x in kept.secrets
            if x.signs(now)
        ],
    }
