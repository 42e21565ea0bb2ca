"""`/v1/usage`: services append metered acts and get the answer in the same call."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, encode, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from api.reads import newest_position
from api.words import Reference
from domain.account.budget import Reached
from domain.account.charge import Charge
from domain.account.usage import Usage
from domain.account.usage_facts import UsageVoided
from domain.errors import PaymentRequired, Refusal, TryAgain
from domain.money import usd

router = APIRouter(prefix="/v1/usage", tags=["usage"])


class Funding(msgspec.Struct, frozen=True):
    """One source's part in paying for an act."""

    source: str
    amount_micros: int
    units: int


class BudgetWarning(msgspec.Struct, frozen=True):
    """A budget of the customer's own that is spent; a soft one refuses nothing."""

    budget_id: str
    limit_micros: int
    spent_micros: int
    hard: bool


class Charged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an act cost, who paid, and what is left. Costs are null (and `rated` is there, null)
    while the act has no price. `budget_warnings` is there while a budget of such calls is
    spent."""

    usage_id: str
    metered: bool
    funding: list[Funding]
    provider_cost_usd: Decimal | None
    markup_usd: Decimal | None
    total_cost_usd: Decimal | None
    price_book_version: int | None
    balance_after_micros: int
    balance_usd: Decimal
    overdrawn: bool
    late: bool
    rated: msgspec.UnsetType | None = msgspec.UNSET
    budget_warnings: list[BudgetWarning] = []


class NotMetered(msgspec.Struct, frozen=True):
    """The catalogue does not count this action; nothing was recorded."""

    metered: bool = False


class Void(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an act was a mistake."""

    reason: Reference | None = None
    ticket_ref: Reference | None = None
    reinstate_expired: bool = False


class DrawView(msgspec.Struct, frozen=True):
    """One source's part, with the grants that the wallet took it from (µ each)."""

    source: str
    amount_micros: int
    units: int
    bucket: str | None
    grants: dict[str, int]


class Voided(msgspec.Struct, frozen=True):
    """What an act had drawn, and what went back into the wallet, by grant in µ."""

    usage_id: str
    voided: bool
    draws: list[DrawView]
    returned: dict[str, int]
    amount_micros: int
    balance_micros: int
    balance_usd: Decimal


EXAMPLE = {
    "event_id": "req_01H",
    "meter": "chat",
    "llm_model": "gpt-5.4",
    "tokens": {"input": 12345, "output": 678},
}
ANSWER = {
    "usage_id": "use_…",
    "metered": True,
    "funding": [{"source": "wallet", "amount_micros": 49565, "units": 0}],
    "provider_cost_usd": 0.047205,
    "markup_usd": 0.00236,
    "total_cost_usd": 0.049565,
    "price_book_version": 1,
    "balance_after_micros": 19950435,
    "balance_usd": 19.950435,
    "overdrawn": False,
    "late": False,
}
NOT_METERED = NotMetered()

_usage = msgspec.json.Decoder(Usage)
_void = msgspec.json.Decoder(Void)


@router.post(
    "",
    **documented(
        "Charge one metered act",
        "usage:write",
        body=Usage,
        answers={201: Charged, 200: Charged},
        examples={"a chat completion": EXAMPLE},
        example=ANSWER,
        keyed=False,
    ),
)
async def charge(request: Request) -> Response:
    """Sending the same `event_id` again is safe: 200 with the first answer, and no charge."""
    call = await enter(request, "usage:write")
    body = await read_body(request)
    usage = parse(_usage, body)
    if "idempotency-key" in request.headers:
        return await once(call, body, lambda _: _answer(call, usage))
    done = await _charge(call, usage)
    # What is not metered writes nothing: the position is where it was.
    position = done.position if done.metered else await newest_position(call.house)
    return Response(
        encode(charged_of(done)),
        status_of(done),
        {"X-Ledger-Position": str(position)},
        "application/json",
    )


async def _answer(call: Call, usage: Usage) -> Answer:
    done = await _charge(call, usage)
    position = done.position if done.metered else await newest_position(call.house)
    return Answer(charged_of(done), position, status_of(done))


async def _charge(call: Call, usage: Usage) -> Charge:
    try:
        done = await call.house.ledger.charge(call.workspace_id, usage, await call.context())
    except Refusal as refusal:
        count(call, refusal)
        raise
    count(call, done)
    return done


def status_of(done: Charge) -> int:
    """201 for an act that was recorded now."""
    return 201 if done.metered and not done.replayed else 200


def count(call: Call, end: Charge | Exception) -> None:
    """Count how an act ended; a refusal to pay gets a receipt."""
    if isinstance(end, Charge):
        outcome = "replayed" if end.replayed else "charged" if end.metered else "not_metered"
    elif isinstance(end, PaymentRequired):
        outcome = "payment_required"
        call.house.receipts.note(call.workspace_id, end)
    else:
        outcome = "try_again" if isinstance(end, TryAgain) else "refused"
    call.house.metrics.charges.labels(outcome).inc()


def charged_of(done: Charge) -> Charged | NotMetered:
    """The end of an act as it is sent; the same for a replay."""
    if done.usage_id is None:
        return NOT_METERED
    rated = done.rated
    return Charged(
        done.usage_id,
        True,
        [Funding(draw.source, draw.amount, draw.units) for draw in done.draws],
        usd(rated.provider_cost) if rated else None,
        usd(rated.markup) if rated else None,
        usd(rated.total) if rated else None,
        rated.price_book_version if rated else None,
        done.balance_after,
        usd(done.balance_after),
        done.balance_after < 0,
        done.late,
        msgspec.UNSET if rated else None,
        warnings_of(done.budgets),
    )


def warnings_of(budgets: Iterable[Reached]) -> list[BudgetWarning]:
    """Budgets that are spent, as an answer says it."""
    return [BudgetWarning(one.budget_id, one.limit, one.spent, one.hard) for one in budgets]


@router.post(
    "/{usage_id}/void",
    **documented(
        "Take back an act that was a mistake",
        "usage:write",
        body=Void,
        optional_body=True,
        answers={200: Voided},
        examples={"a retry bug": {"reason": "charged twice by a retry bug", "ticket_ref": "T-7"}},
        parameters=[path_parameter("usage_id", "use_…")],
        keyed=False,
    ),
)
async def void(request: Request) -> Response:
    """Gives back exactly what the act drew: the same grants, the same allowance. Once an act, by
    the service that sent it or an administrator."""
    call = await enter(request, "usage:write")
    body = await read_body(request)
    asked = parse(_void, body or b"{}")
    return await once(call, body, lambda _: _take_back(call, asked))


async def _take_back(call: Call, asked: Void) -> Answer:
    usage_id = call.request.path_params["usage_id"]
    done = await call.house.ledger.void(
        call.workspace_id,
        usage_id,
        await call.context(),
        reason=asked.reason,
        ticket_ref=asked.ticket_ref,
        reinstate_expired=asked.reinstate_expired,
    )
    # The card may be charged in the same save: a balance can be low and its top-up refused before.
    fact = next(one.fact for one in done.facts if isinstance(one.fact, UsageVoided))
    return Answer(
        Voided(
            usage_id,
            True,
            [
                DrawView(draw.source, draw.amount, draw.units, draw.bucket, draw.grants)
                for draw in fact.draws
            ],
            {grant.grant_id: grant.remaining for grant in fact.returned},
            fact.amount,
            fact.balance_after,
            usd(fact.balance_after),
        ),
        done.position,
    )
