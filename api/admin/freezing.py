"""`/v1/admin/workspaces/{id}/freeze` and `/unfreeze`: whether an account may spend at all."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.words import Reference, Text
from domain.account.credit_facts import FreezeReason
from domain.errors import InvalidInput
from domain.money import usd

router = APIRouter(prefix="/v1/admin/workspaces/{workspace_id}", tags=["admin"])

KINDS: tuple[FreezeReason, ...] = ("chargeback", "admin", "fraud")


class Freezing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why: `chargeback`, `admin` or `fraud`; any other text is a note."""

    reason: Text | None = None
    ticket_ref: Reference | None = None


class Frozen(msgspec.Struct, frozen=True):
    """Whether the account may spend, and every reason why not."""

    workspace_id: str
    is_frozen: bool
    frozen: bool
    freeze_reasons: list[str]
    balance_micros: int
    balance_usd: Decimal


_freezing = msgspec.json.Decoder(Freezing)


@router.post(
    "/freeze",
    **documented(
        "Stop an account from spending",
        "admin",
        body=Freezing,
        optional_body=True,
        answers={200: Frozen},
        examples={"fraud": {"reason": "fraud", "ticket_ref": "T-3"}},
        keyed=False,
        of="path",
    ),
)
async def freeze(request: Request) -> Response:
    """Usage is refused with 402 until every reason is lifted; billing and reading go on."""
    call = await enter(request, "admin", "path")
    body = await read_body(request)
    asked = parse(_freezing, body or b"{}")
    kind, note = _kind_and_note(asked)

    async def act(_: str) -> Answer:
        ref = asked.ticket_ref or "admin"
        done = await call.house.ledger.freeze(
            call.workspace_id, kind or "admin", ref, note, await call.context()
        )
        return Answer(await _state(call), done.position)

    return await once(call, body, act)


@router.post(
    "/unfreeze",
    **documented(
        "Let an account spend again",
        "admin",
        body=Freezing,
        optional_body=True,
        answers={200: Frozen},
        examples={"all": {"reason": "customer called", "ticket_ref": "T-3"}},
        keyed=False,
        of="path",
    ),
)
async def unfreeze(request: Request) -> Response:
    """One of the three reasons lifts that kind; no reason, or any other text, lifts all. What a
    chargeback froze is lifted with a `ticket_ref` only."""
    call = await enter(request, "admin", "path")
    body = await read_body(request)
    asked = parse(_freezing, body or b"{}")
    kind, note = _kind_and_note(asked)

    async def act(_: str) -> Answer:
        account = await call.house.ledger.account(call.workspace_id)
        disputed = any(reason == "chargeback" for reason, _ in account.freezes)
        if disputed and kind in (None, "chargeback") and not asked.ticket_ref:
            raise InvalidInput(("ticket_ref",), "must say why a chargeback no longer counts")
        done = await call.house.ledger.unfreeze(
            call.workspace_id, kind, asked.ticket_ref or "", note, await call.context()
        )
        return Answer(await _state(call), done.position)

    return await once(call, body, act)


def _kind_and_note(asked: Freezing) -> tuple[FreezeReason | None, str | None]:
    if asked.reason in KINDS:
        return asked.reason, None
    return None, asked.reason


async def _state(call: Call) -> Frozen:
    account = await call.house.ledger.account(call.workspace_id)
    return Frozen(
        call.workspace_id,
        account.is_frozen,
        account.is_frozen,
        [reason for reason, _ in account.freezes],
        account.balance,
        usd(account.balance),
    )
