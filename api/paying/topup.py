"""`POST /v1/billing/topup`: money comes in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.amounts import micros
from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.paying.urls import urls_of
from api.reads import newest_position
from api.refusals import IdempotencyKeyReuse
from domain.account.credit_account import CreditAccount
from domain.account.usage import Label
from domain.catalogue.catalogue import Catalogue
from domain.errors import AmountTooSmall, InvalidInput, PaymentRefNotAllowed, StripeOutcomeUnknown
from domain.money import digits_of, parse_usd, usd
from domain.payment.attempt import PaymentAttempt
from domain.payment.errors import AuthenticationRequired, CardDeclined
from domain.payment.facts import payment_stream
from domain.payment.paying import Paid

router = APIRouter(prefix="/v1/billing", tags=["billing"])


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much, in currency with at most two fraction digits; the saved card is charged. A
    `payment_ref` records a payment that was made elsewhere; each is credited once, for ever."""

    amount_usd: Decimal
    payment_ref: Label | None = None


class ToppedUp(msgspec.Struct, frozen=True, omit_defaults=True):
    """The balance, with the credit in it once `status` is `succeeded`. `pending`: the outcome
    is not known yet; the same request again asks for it. `duplicate`: the reference was credited
    before. `checkout_url`: where the customer pays, in deployments that top up by checkout."""

    success: bool
    status: Literal["succeeded", "pending"]
    new_balance_usd: Decimal
    new_balance_micros: int
    frozen: bool
    payment_attempt_id: str | None
    duplicate: bool
    checkout_url: str | msgspec.UnsetType | None = msgspec.UNSET


RECORDING = "payments:record"
"""The scope of whoever records payments that were made elsewhere; it asks for no other."""

_topup = msgspec.json.Decoder(TopUp)


@router.post(
    "/topup",
    **documented(
        "Add credits",
        "billing:write",
        body=TopUp,
        answers={200: ToppedUp, 202: ToppedUp},
        examples={
            "the saved card": {"amount_usd": 20.00},
            "a bank transfer": {"amount_usd": 20.00, "payment_ref": "wire-77"},
        },
        keyed=True,
    ),
)
async def top_up(request: Request) -> Response:
    """Charges the saved card: 402 `payment_method_required` without one, `card_declined`, or
    `authentication_required` with a `checkout_url` whose completion credits. 202 while nobody
    knows the outcome. With a `payment_ref` (scope payments:record) no card is charged."""
    call = await enter(request, "billing:write", or_scope=RECORDING)
    body = await read_body(request)
    asked = parse(_topup, body)
    if asked.payment_ref is None:
        call.caller.require("billing:write")  # who records payments charges no card
    return await once(call, body, lambda key: _top_up(call, asked, key), required=True)


async def _top_up(call: Call, asked: TopUp, key: str) -> Answer:
    catalogue = (await call.house.ledger.plans()).current
    amount = _amount(asked, catalogue)
    if asked.payment_ref is not None:
        return await _record(call, amount, asked.payment_ref, catalogue)
    ledger, payments = call.house.ledger, call.house.till.payments
    context = await call.context()
    if catalogue.topup_via == "checkout":
        await ledger.stripe_customer(payments, call.workspace_id, context)
    attempt, is_new = await ledger.request_payment(
        call.workspace_id,
        "topup",
        payment_stream("topup", call.workspace_id, key),
        amount,
        context,
        via=catalogue.topup_via,
    )
    if attempt.amount != amount:
        raise IdempotencyKeyReuse(
            ("header", "Idempotency-Key"), "was already used for another amount; take a new one"
        )
    try:
        urls = urls_of(call, done="topup")
        paid = await ledger.pursue(payments, attempt, urls, context, is_new=is_new)
    except StripeOutcomeUnknown:
        paid = await ledger.paid(attempt.payment_attempt_id)
    return await _answer(call, paid)


def _amount(asked: TopUp, catalogue: Catalogue) -> int:
    terms = catalogue.topup
    amount = micros(asked.amount_usd, "amount_usd", digits=digits_of(catalogue.currency))
    if amount < parse_usd(terms.min_usd, digits=6):
        raise AmountTooSmall(("amount_usd",), f"must be at least {terms.min_usd}")
    if amount > parse_usd(terms.max_usd, digits=6):
        raise InvalidInput(("amount_usd",), f"must be at most {terms.max_usd}")
    return amount


async def _answer(call: Call, paid: Paid) -> Answer:
    attempt = paid.attempt
    if attempt.status in ("failed", "abandoned"):
        raise declined(attempt, await call.house.ledger.account(call.workspace_id))
    if attempt.status == "requires_action":
        account = await call.house.ledger.account(call.workspace_id)
        raise AuthenticationRequired(
            **_standing(account),
            checkout_url=attempt.url,
            payment_attempt_id=attempt.payment_attempt_id,
        )
    succeeded = attempt.status == "succeeded"
    return Answer(
        ToppedUp(
            succeeded,
            "succeeded" if succeeded else "pending",
            usd(paid.balance),
            paid.balance,
            paid.is_frozen,
            attempt.payment_attempt_id,
            False,
            attempt.url if attempt.via == "checkout" else msgspec.UNSET,
        ),
        await newest_position(call.house),
        200 if succeeded else 202,
    )


def declined(attempt: PaymentAttempt, account: CreditAccount) -> CardDeclined:
    """The refusal of a charge that the card said no to."""
    return CardDeclined(
        **_standing(account),
        # A page that nobody paid in time has neither.
        decline_code=attempt.decline_code or attempt.code or attempt.status,
        payment_attempt_id=attempt.payment_attempt_id,
    )


def _standing(account: CreditAccount) -> dict[str, Any]:
    return {
        "plan": account.plan,
        "balance": account.balance,
        "available": account.available,
        "is_frozen": account.is_frozen,
        "needs_credits": account.available <= 0 and not account.is_frozen,
    }


async def _record(call: Call, amount: int, payment_ref: str, catalogue: Catalogue) -> Answer:
    if catalogue.payment_ref_policy != "open" and not call.caller.may(RECORDING):
        raise PaymentRefNotAllowed("Recording a payment needs the scope payments:record.")
    if payment_ref != payment_ref.strip():  # `wire-77 ` would be credited beside `wire-77`
        raise InvalidInput(("payment_ref",), "must not begin or end with a blank")
    done = await call.house.ledger.record_payment(
        call.workspace_id, amount, payment_ref, await call.context()
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
