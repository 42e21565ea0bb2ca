"""`POST /v1/admin/workspaces/{id}/refunds`: money goes back to whoever paid it."""

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
from api.reads import newest_position
from api.words import Reference
from domain.account.credit_facts import CreditsReversed
from domain.account.usage import Label
from domain.errors import InvalidInput, NotFound
from domain.money import digits_of, usd

router = APIRouter(prefix="/v1/admin/workspaces/{workspace_id}", tags=["admin"])


class Refund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of which payment to give back."""

    payment_attempt_id: Label
    amount_usd: Decimal
    ticket_ref: Reference | None = None


class Refunded(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was given back. Of a card payment Stripe is asked (`refund_id`), and the credits are
    reversed when it says so. Of a payment made elsewhere they are at once (`reversal_id`), from
    these grants; the rest became debt."""

    payment_attempt_id: str
    amount_micros: int
    amount_usd: Decimal
    balance_micros: int
    balance_usd: Decimal
    status: str
    refund_id: str | msgspec.UnsetType | None = msgspec.UNSET
    reversal_id: str | msgspec.UnsetType | None = msgspec.UNSET
    grants: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


_refund = msgspec.json.Decoder(Refund)


@router.post(
    "/refunds",
    **documented(
        "Give a payment back",
        "admin",
        body=Refund,
        answers={201: Refunded},
        examples={"full": {"payment_attempt_id": "pay_…", "amount_usd": 20, "ticket_ref": "T-9"}},
        keyed=True,
        of="path",
    ),
)
async def refund(request: Request) -> Response:
    """Takes the payment's own credits first, then others, then leaves debt; never more than it
    brought in."""
    call = await enter(request, "admin", "path")
    body = await read_body(request)
    asked = parse(_refund, body)
    digits = digits_of((await call.house.ledger.plans()).current.currency)
    amount = micros(asked.amount_usd, "amount_usd", digits=digits)
    if amount <= 0:
        raise InvalidInput(("amount_usd",), "must be positive")

    async def act(key: str) -> Answer:
        payment = await call.house.ledger.payment(asked.payment_attempt_id)
        if payment.version and payment.workspace_id != call.workspace_id:
            raise NotFound("payment", asked.payment_attempt_id)
        # Whatever came in by card goes back that way, also where an administrator credited it.
        if payment.kind in ("topup", "auto_topup") or payment.stripe_payment_intent is not None:
            return await _by_card(call, asked, amount, key)
        return await _by_hand(call, asked, amount, key)

    return await once(call, body, act, required=True)


async def _by_card(call: Call, asked: Refund, amount: int, key: str) -> Answer:
    ledger = call.house.ledger
    done = await ledger.request_refund(
        call.house.till.payments,
        asked.payment_attempt_id,
        amount,
        key,
        asked.ticket_ref,
        await call.context(),
    )
    account = await ledger.account(call.workspace_id)
    answer = Refunded(
        asked.payment_attempt_id,
        amount,
        usd(amount),
        account.balance,
        usd(account.balance),
        done.state,
        refund_id=done.id,
    )
    return Answer(answer, await newest_position(call.house), 201)


async def _by_hand(call: Call, asked: Refund, amount: int, key: str) -> Answer:
    done = await call.house.ledger.reverse(
        call.workspace_id,
        asked.payment_attempt_id,
        amount,
        "refund",
        key,
        await call.context(),
        ticket_ref=asked.ticket_ref,
    )
    # The card may be charged in the same save, for what is left is little.
    fact = next(one.fact for one in done.facts if isinstance(one.fact, CreditsReversed))
    answer = Refunded(
        fact.payment_attempt_id,
        fact.amount,
        usd(fact.amount),
        fact.balance_after,
        usd(fact.balance_after),
        "succeeded",
        reversal_id=fact.reversal_id,
        grants=fact.grants,
    )
    return Answer(answer, done.position, 201)
