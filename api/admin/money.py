"""`/v1/admin/workspaces/{id}`: how administrators move money of one account, by adding facts."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.amounts import micros
from api.call import enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.words import Reference, Text
from domain.account.credit_facts import Credited
from domain.account.usage_facts import Debited
from domain.account.wallet import Category
from domain.errors import InvalidInput
from domain.money import usd

router = APIRouter(prefix="/v1/admin/workspaces/{workspace_id}", tags=["admin"])

Instant = Annotated[datetime, Meta(tz=True)]


class NewCredit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Credits to give: a grant. Lower priorities are spent first."""

    amount_usd: Decimal
    category: Category = "promotional"
    priority: Annotated[int, Meta(ge=0, le=100)] = 50
    expires_at: Instant | None = None
    reason: Text | None = None
    ticket_ref: Reference | None = None


class Granted(msgspec.Struct, frozen=True):
    """The grant that was opened, and the balance behind it."""

    grant_id: str
    workspace_id: str
    amount_micros: int
    amount_usd: Decimal
    category: Category
    priority: int
    expires_at: datetime | None
    reason: str | None
    ticket_ref: str | None
    balance_micros: int
    balance_usd: Decimal
    duplicate: bool


class Adjustment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A correction by adding; negative takes away, and may leave debt."""

    amount_usd: Decimal
    reason: Text
    ticket_ref: Reference | None = None


class Adjusted(msgspec.Struct, frozen=True):
    """The correction and the balance behind it."""

    workspace_id: str
    amount_micros: int
    amount_usd: Decimal
    balance_micros: int
    balance_usd: Decimal


_credit = msgspec.json.Decoder(NewCredit)
_adjustment = msgspec.json.Decoder(Adjustment)


@router.post(
    "/credits",
    **documented(
        "Give credits",
        "admin",
        body=NewCredit,
        answers={201: Granted},
        examples={"welcome": {"amount_usd": 5, "priority": 10, "reason": "welcome"}},
        keyed=True,
        of="path",
    ),
)
async def credit(request: Request) -> Response:
    """Opens a grant, without a payment."""
    call = await enter(request, "admin", "path")
    body = await read_body(request)
    asked = parse(_credit, body)
    amount = micros(asked.amount_usd, "amount_usd", digits=6)
    expires_at = None if asked.expires_at is None else _utc(asked.expires_at, "expires_at")
    if amount <= 0:
        raise InvalidInput(("amount_usd",), "must be positive; take away with an adjustment")

    async def act(key: str) -> Answer:
        done = await call.house.ledger.grant(
            call.workspace_id,
            amount,
            key,
            await call.context(),
            category=asked.category,
            priority=asked.priority,
            expires_at=expires_at,
            reason=asked.reason,
            ticket_ref=asked.ticket_ref,
        )
        return Answer(
            Granted(
                done.grant_id or "",
                call.workspace_id,
                amount,
                usd(amount),
                asked.category,
                asked.priority,
                expires_at,
                asked.reason,
                asked.ticket_ref,
                done.balance,
                usd(done.balance),
                done.duplicate,
            ),
            done.position,
            201,
        )

    return await once(call, body, act, required=True)


@router.post(
    "/adjustments",
    **documented(
        "Correct a balance",
        "admin",
        body=Adjustment,
        answers={201: Adjusted},
        examples={"goodwill": {"amount_usd": "-3.50", "reason": "double credit"}},
        keyed=True,
        of="path",
    ),
)
async def adjust(request: Request) -> Response:
    """Adds to the balance, or takes away; history stays as it is."""
    call = await enter(request, "admin", "path")
    body = await read_body(request)
    asked = parse(_adjustment, body)
    amount = micros(asked.amount_usd, "amount_usd", digits=6)

    async def act(key: str) -> Answer:
        done = await call.house.ledger.adjust(
            call.workspace_id,
            amount,
            key,
            asked.reason,
            asked.ticket_ref or "",
            await call.context(),
        )
        # Others may stand around it: a grant is over, the card is charged.
        fact = next(one.fact for one in done.facts if isinstance(one.fact, Credited | Debited))
        return Answer(
            Adjusted(
                call.workspace_id,
                amount,
                usd(amount),
                fact.balance_after,
                usd(fact.balance_after),
            ),
            done.position,
            201,
        )

    return await once(call, body, act, required=True)


def _utc(moment: datetime, name: str) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput((name,), "must be within the years 1 to 9999 in UTC") from None
