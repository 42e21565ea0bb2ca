"""`POST /v1/billing/topup`: money comes in."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.amounts import micros
from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.refusals import PaymentMethodRequired
from domain.errors import AmountTooSmall, InvalidInput, PaymentRefNotAllowed
from domain.money import parse_usd, usd
from domain.usage import Label

router = APIRouter(prefix="/v1/billing", tags=["billing"])


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much, in currency with at most two fraction digits. A `payment_ref` records a payment
    that was made elsewhere; each is credited once, for ever."""

    amount_usd: Decimal
    payment_ref: Label | None = None


class ToppedUp(msgspec.Struct, frozen=True):
    """The balance with the credit in it. `duplicate`: the reference was credited before."""

    success: bool
    status: str
    new_balance_usd: Decimal
    new_balance_micros: int
    frozen: bool
    payment_attempt_id: str | None
    duplicate: bool


_topup = msgspec.json.Decoder(TopUp)


@router.post(
    "/topup",
    **documented(
        "Add credits",
        "billing:write",
        body=TopUp,
        answers={200: ToppedUp},
        examples={"a bank transfer": {"amount_usd": 20.00, "payment_ref": "wire-77"}},
        keyed=True,
    ),
)
async def top_up(request: Request) -> Response:
    """With a `payment_ref` (scope payments:record) no card is charged. No card can be saved yet,
    so without one the answer is 402 `payment_method_required`."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_topup, body)
    return await once(call, body, lambda _: _top_up(call, asked), required=True)


async def _top_up(call: Call, asked: TopUp) -> Answer:
    ledger = call.house.ledger
    catalogue = (await ledger.plans()).current
    terms = catalogue.topup
    amount = micros(asked.amount_usd, "amount_usd", digits=2)
    if amount < parse_usd(terms.min_usd, digits=6):
        raise AmountTooSmall(("amount_usd",), f"must be at least {terms.min_usd}")
    if amount > parse_usd(terms.max_usd, digits=6):
        raise InvalidInput(("amount_usd",), f"must be at most {terms.max_usd}")
    if asked.payment_ref is None:
        account = await ledger.account(call.workspace_id)
        raise PaymentMethodRequired(
            plan=account.plan,
            balance=account.balance,
            available=account.available,
            is_frozen=account.is_frozen,
            needs_credits=account.available <= 0 and not account.is_frozen,
        )
    if catalogue.payment_ref_policy != "open" and not call.caller.may("payments:record"):
        raise PaymentRefNotAllowed("Recording a payment needs the scope payments:record.")
    done = await ledger.record_payment(
        call.workspace_id, amount, asked.payment_ref, await call.context()
    )
    return Answer(
        ToppedUp(
            True,
            "succeeded",
            usd(done.balance),
            done.balance,
            done.is_frozen,
            done.payment_attempt_id,
            done.duplicate,
        ),
        done.position,
    )
