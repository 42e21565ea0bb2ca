"""`/v1/usage/authorize` and `/v1/usage/holds`: may a call run, and who would pay for it?"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import uuid5

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from api.usage import BudgetWarning, warnings_of
from domain.account.hold_facts import BillingSource, HoldPlaced, Labels, Release, Route
from domain.account.spending import admitted_by
from domain.account.usage import Count, Label, Tokens
from domain.errors import Conflict, HoldClosed, InvalidInput, NotFound, PaymentRequired
from domain.identity import NAMESPACE, account_id

router = APIRouter(prefix="/v1/usage", tags=["usage"])

Seconds = Annotated[int, Meta(ge=1, le=86_400)]


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that a call is expected to use, in tokens."""

    input_tokens: Count = 0
    max_output_tokens: Count = 0


class Authorization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that wants to run. `billing_source` asks for one source instead of the plan's
    order, and no other pays in the end; `interviewer_billing_source` is its other name. A
    `hold_id` of the caller's own (or an Idempotency-Key) makes it safe to send again."""

    meter: Label
    estimate: Estimate = Estimate()
    llm_model: Label | None = None
    provider: Label | None = None
    billing_source: BillingSource | None = None
    interviewer_billing_source: BillingSource | None = None
    hold_id: Label | None = None
    ttl_seconds: Seconds = 900
    api_key_id: Label | None = None
    model_username: Label | None = None
    face_id: Label | None = None
    bot_id: Label | None = None
    thread_id: Label | None = None

    @property
    def source(self) -> BillingSource | None:
        """The one source that was asked for, by either name.

        :raises InvalidInput: the two names say different things.
        """
        one, other = self.billing_source, self.interviewer_billing_source
        if one is not None and other is not None and one != other:
            raise InvalidInput(("interviewer_billing_source",), "says something else")
        return one or other

    @property
    def labels(self) -> Labels:
        """Whose call it is."""
        return Labels(
            self.llm_model,
            self.api_key_id,
            self.model_username,
            self.face_id,
            self.bot_id,
            self.thread_id,
            self.provider,
        )


class Authorized(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call may run; what it may cost is set aside until `expires_at`, in µ or in units.
    `budget_warnings` is there while a budget of such calls is spent."""

    hold_id: str
    route: Route
    held_micros: int
    held_units: int
    available_micros: int
    expires_at: datetime
    budget_warnings: list[BudgetWarning] = []


class Releasing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a call is not charged."""

    reason: Release = "client_cancelled"


class Released(msgspec.Struct, frozen=True):
    """Nothing is set aside any more."""

    hold_id: str
    released: Literal[True]
    reason: Release
    available_micros: int


class Extending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much longer the call may take, from now."""

    ttl_seconds: Seconds = 900


class Extended(msgspec.Struct, frozen=True):
    """Until when the hold stands now."""

    hold_id: str
    expires_at: datetime


_authorization = msgspec.json.Decoder(Authorization)
_releasing = msgspec.json.Decoder(Releasing)
_extending = msgspec.json.Decoder(Extending)
HOLD = [path_parameter("hold_id", "hold_…")]
NOWHERE = (".", "..")
"""Clients take these out of a path, so that nobody could release such a hold."""


@router.post(
    "/authorize",
    **documented(
        "May a call run?",
        "usage:write",
        body=Authorization,
        answers={201: Authorized, 200: Authorized},
        examples={
            "a chat completion": {
                "meter": "chat",
                "llm_model": "gpt-5.4",
                "estimate": {"input_tokens": 1000, "max_output_tokens": 2000},
            }
        },
        keyed=False,
    ),
)
async def authorize(request: Request) -> Response:
    """Sets aside what the call may cost: never more than there is. Settle it with `POST
    /v1/usage` and its `hold_id`, or release it; by itself it ends after `ttl_seconds`."""
    call = await enter(request, "usage:write")
    body = await read_body(request)
    asked = parse(_authorization, body)
    if asked.hold_id is not None and (asked.hold_id in NOWHERE or not asked.hold_id.strip()):
        raise InvalidInput(("hold_id",), "must have more than dots or spaces in it")
    return await once(call, body, lambda key: _authorize(call, asked, key))


async def _authorize(call: Call, asked: Authorization, key: str) -> Answer:
    hold_id = asked.hold_id or f"hold_{uuid5(NAMESPACE, f'hold/{call.workspace_id}/{key}').hex}"
    estimate = Tokens(asked.estimate.input_tokens, 0, asked.estimate.max_output_tokens)
    try:
        done = await call.house.ledger.authorize(
            call.workspace_id,
            hold_id,
            asked.meter,
            estimate,
            asked.labels,
            await call.context(),
            source=asked.source,
            ttl=timedelta(seconds=asked.ttl_seconds),
        )
    except PaymentRequired as refusal:
        call.house.receipts.note(call.workspace_id, refusal)
        raise
    placed = next(r.fact for r in done.facts if isinstance(r.fact, HoldPlaced))
    admitted = done.answer
    if done.replayed:
        before = (placed.meter, placed.estimate, placed.request, placed.source)
        if before != (asked.meter, estimate, asked.labels, asked.source):
            raise Conflict(f"the hold_id {hold_id} was already used for a different call")
        account = await call.house.ledger.account(call.workspace_id)
        admitted = admitted_by(account, asked.labels)
    return Answer(
        Authorized(
            hold_id,
            placed.route,
            placed.amount,
            placed.units,
            admitted.available,
            placed.expires_at,
            warnings_of(admitted.budgets),
        ),
        done.position,
        200 if done.replayed else 201,
    )


@router.delete(
    "/holds/{hold_id:path}",
    **documented(
        "End a hold without a charge",
        "usage:write",
        body=Releasing,
        optional_body=True,
        answers={200: Released},
        examples={"the provider failed": {"reason": "upstream_failed"}},
        parameters=HOLD,
    ),
)
async def release(request: Request) -> Response:
    """For a call that did not happen. 409 `hold_closed` if it was settled, released or is over."""
    call = await enter(request, "usage:write")
    body = await read_body(request)
    asked = parse(_releasing, body or b"{}")
    return await once(call, body, lambda _: _release(call, asked))


async def _release(call: Call, asked: Releasing) -> Answer:
    hold_id = call.request.path_params["hold_id"]
    context = await call.context()
    try:
        done = await call.house.ledger.release_hold(
            call.workspace_id, hold_id, asked.reason, context
        )
    except HoldClosed:
        await _require_hold(call, hold_id)
        raise
    return Answer(Released(hold_id, True, asked.reason, done.answer), done.position)


@router.post(
    "/holds/{hold_id:path}/extend",
    **documented(
        "Let a hold stand longer",
        "usage:write",
        body=Extending,
        optional_body=True,
        answers={200: Extended},
        examples={"a long stream": {"ttl_seconds": 900}},
        parameters=HOLD,
        keyed=False,
    ),
)
async def extend(request: Request) -> Response:
    """While tokens flow; the hold never ends earlier than it would have."""
    call = await enter(request, "usage:write")
    body = await read_body(request)
    asked = parse(_extending, body or b"{}")
    return await once(call, body, lambda _: _extend(call, asked))


async def _extend(call: Call, asked: Extending) -> Answer:
    hold_id = call.request.path_params["hold_id"]
    ttl = timedelta(seconds=asked.ttl_seconds)
    context = await call.context()
    try:
        done = await call.house.ledger.extend_hold(call.workspace_id, hold_id, ttl, context)
    except HoldClosed:
        await _require_hold(call, hold_id)
        raise
    return Answer(Extended(hold_id, done.answer), done.position)


async def _require_hold(call: Call, hold_id: str) -> None:
    """What was never placed is not closed but unknown.

    :raises NotFound: there never was such a hold.
    """
    stream = account_id(call.workspace_id)
    if await call.house.ledger.book.find_cause(stream, f"hold:{hold_id}") is None:
        raise NotFound("hold", hold_id)
