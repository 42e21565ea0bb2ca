"""`/v1/billing/auto-topup`: charge the saved card whenever the balance runs low."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.amounts import micros
from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.reads import newest_position
from domain.errors import InvalidInput
from domain.money import digits_of, parse_usd, usd

router = APIRouter(prefix="/v1/billing/auto-topup", tags=["billing"])


class AutoTopUpTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Below `threshold_usd` the card is charged `amount_usd`, or what is missing to
    `target_usd`; never more than `monthly_cap_usd` in a calendar month (UTC)."""

    enabled: bool
    threshold_usd: Decimal | None = None
    amount_usd: Decimal | None = None
    target_usd: Decimal | None = None
    monthly_cap_usd: Decimal | None = None


class AutoTopUpView(msgspec.Struct, frozen=True):
    """The order in force. `suspended` says what stands in its way: `declines`,
    `authentication_required` (then `checkout_url` is where to confirm), `cap`, `frozen` or
    `no_card`. `in_flight` is the payment whose end is not known yet."""

    enabled: bool
    threshold_usd: Decimal | None
    amount_usd: Decimal | None
    target_usd: Decimal | None
    monthly_cap_usd: Decimal | None
    spent_this_month_usd: Decimal
    suspended: str | None
    in_flight: str | None
    consecutive_failures: int
    checkout_url: str | None
    as_of_position: int


_terms = msgspec.json.Decoder(AutoTopUpTerms)


@router.get("", **documented("Automatic top-up", "billing:read", answers={200: AutoTopUpView}))
async def read(request: Request) -> Response:
    """As the ledger knows it now; off until it was asked for."""
    call = await enter(request, "billing:read")
    return answer(await _view(call))


@router.put(
    "",
    **documented(
        "Order automatic top-ups, or end them",
        "billing:write",
        body=AutoTopUpTerms,
        answers={200: AutoTopUpView},
        examples={
            "20 below 5": {"enabled": True, "threshold_usd": 5, "amount_usd": 20},
            "off": {"enabled": False},
        },
        keyed=False,
    ),
)
async def order(request: Request) -> Response:
    """Strictly below the threshold one charge is made; another only after it ended. Three
    failures in a row, or a bank that wants the holder, suspend it; a new card lets it go on."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_terms, body)
    return await once(call, body, lambda _: _order(call, asked))


async def _order(call: Call, asked: AutoTopUpTerms) -> Answer:
    ledger = call.house.ledger
    current = (await ledger.plans()).current
    terms, digits = current.topup, digits_of(current.currency)
    bounds = (parse_usd(terms.min_usd, digits=6), parse_usd(terms.max_usd, digits=6))
    if asked.enabled and asked.threshold_usd is None:
        raise InvalidInput(("threshold_usd",), "says when to charge")
    done = await ledger.configure_auto_topup(
        call.workspace_id,
        asked.enabled,
        _micros(asked.threshold_usd, "threshold_usd", 6) or 0,
        _micros(asked.amount_usd, "amount_usd", digits),
        _micros(asked.target_usd, "target_usd", digits),
        _micros(asked.monthly_cap_usd, "monthly_cap_usd", digits),
        bounds,
        await call.context(),
    )
    return Answer(await _view(call), done.position)


def _micros(amount: Decimal | None, name: str, digits: int) -> int | None:
    return None if amount is None else micros(amount, name, digits=digits)


def _usd(amount: int | None) -> Decimal | None:
    return None if amount is None else usd(amount)


async def _view(call: Call) -> AutoTopUpView:
    ledger, position = call.house.ledger, await newest_position(call.house)
    account = await ledger.account(call.workspace_id)
    auto = account.auto_topup
    if auto is None:
        return AutoTopUpView(
            False, None, None, None, None, Decimal(0), None, None, 0, None, position
        )
    month = (await call.context()).now.strftime("%Y-%m")
    url = None
    if auto.suspended == "authentication_required" and auto.last:
        url = (await ledger.payment(auto.last)).url
    return AutoTopUpView(
        auto.enabled,
        usd(auto.threshold),
        _usd(auto.amount),
        _usd(auto.target),
        _usd(auto.monthly_cap),
        usd(auto.spent_in(month)),
        auto.suspended,
        auto.in_flight,
        auto.failures,
        url,
        position,
    )
