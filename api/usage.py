"""`/v1/usage`: services append metered acts and get the answer in the same call."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api import problems
from api.call import Call, encode, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from domain.account_facts import UsageVoided
from domain.charge import Charge
from domain.errors import InvalidInput, PaymentRequired, Refusal, TryAgain
from domain.money import usd
from domain.usage import Label, Usage

router = APIRouter(prefix="/v1/usage", tags=["usage"])

BATCH_MAX = 1_000


class Funding(msgspec.Struct, frozen=True):
    """One source's part in paying for an act."""

    source: str
    amount_micros: int
    units: int


class Charged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an act cost, who paid, and what is left. Costs are null (and `rated` is there, null)
    while the act has no price."""

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


class NotMetered(msgspec.Struct, frozen=True):
    """The catalogue does not count this action; nothing was recorded."""

    metered: bool = False


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 acts, each charged for itself."""

    items: list[Usage]


class RawBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch whose items are looked at one by one."""

    items: list[msgspec.Raw]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one act of a batch ended: `result` as of the single call, or a `problem`."""

    index: int
    status: int
    event_id: str | None
    result: Any = msgspec.UNSET
    problem: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class BatchResult(msgspec.Struct, frozen=True):
    """One result for each act, in the order in which they were sent."""

    results: list[ItemResult]
    charged: int
    refused: int


class Void(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an act was a mistake."""

    reason: Label | None = None
    ticket_ref: Label | None = None
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


class EventId(msgspec.Struct):
    """What is read of an item that is wrong elsewhere."""

    event_id: str | None = None


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
_batch = msgspec.json.Decoder(list[msgspec.Raw] | RawBatch)
_void = msgspec.json.Decoder(Void)
_event_id = msgspec.json.Decoder(EventId)


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
    return Response(
        encode(_charged(done)),
        _status(done),
        {"X-Ledger-Position": str(done.position)} if done.metered else None,
        "application/json",
    )


async def _answer(call: Call, usage: Usage) -> Answer:
    done = await _charge(call, usage)
    return Answer(_charged(done), done.position or None, _status(done))


async def _charge(call: Call, usage: Usage) -> Charge:
    try:
        done = await call.house.ledger.charge(call.workspace_id, usage, await call.context())
    except Refusal as refusal:
        _count(call, refusal)
        raise
    _count(call, done)
    return done


def _status(done: Charge) -> int:
    return 201 if done.metered and not done.replayed else 200


def _count(call: Call, end: Charge | Exception) -> None:
    if isinstance(end, Charge):
        outcome = "replayed" if end.replayed else "charged" if end.metered else "not_metered"
    elif isinstance(end, PaymentRequired):
        outcome = "payment_required"
    else:
        outcome = "try_again" if isinstance(end, TryAgain) else "refused"
    call.house.metrics.charges.labels(outcome).inc()


def _charged(done: Charge) -> Charged | NotMetered:
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
    )


@router.post(
    "/batch",
    **documented(
        "Charge up to 1,000 acts",
        "usage:write",
        body=Batch,
        answers={200: BatchResult},
        examples={"two": {"items": [EXAMPLE, {**EXAMPLE, "event_id": "req_01J"}]}},
        keyed=False,
    ),
)
async def charge_batch(request: Request) -> Response:
    """Each act is charged or refused for itself, in order, and safe to send again. The body is
    an array, or an object with `items`."""
    call = await enter(request, "usage:write")
    body = await read_body(request)
    given = parse(_batch, body, whole=False)
    items = given if isinstance(given, list) else given.items
    if not 1 <= len(items) <= BATCH_MAX:
        raise InvalidInput(("items",), f"a batch has 1 to {BATCH_MAX} items, not {len(items)}")
    return await once(call, body, lambda _: _charge_items(call, items))


async def _charge_items(call: Call, items: list[msgspec.Raw]) -> Answer:
    context = await call.context()
    results: list[ItemResult | None] = [None] * len(items)
    usages: list[Usage] = []
    places: list[int] = []
    for index, item in enumerate(items):
        try:
            usages.append(_item(item))
            places.append(index)
        except InvalidInput as wrong:
            results[index] = _refused(call, index, _event_id_of(item), wrong)
    position = 0
    ends = await call.house.ledger.charge_many(call.workspace_id, usages, context)
    for index, usage, end in zip(places, usages, ends, strict=True):
        if isinstance(end, Charge):
            position = max(position, end.position)
            _count(call, end)
            results[index] = ItemResult(index, _status(end), usage.event_id, _charged(end))
        elif isinstance(end, Refusal):
            results[index] = _refused(call, index, usage.event_id, end)
        else:
            raise end
    done = [result for result in results if result is not None]
    refused = sum(result.status >= 400 for result in done)
    return Answer(BatchResult(done, len(done) - refused, refused), position or None)


def _item(item: msgspec.Raw) -> Usage:
    return parse(_usage, bytes(item))


def _event_id_of(item: msgspec.Raw) -> str | None:
    try:
        return _event_id.decode(item).event_id
    except (ValueError, OverflowError, RecursionError):
        return None


def _refused(call: Call, index: int, event_id: str | None, refusal: Refusal) -> ItemResult:
    _count(call, refusal)
    made = problems.problem(refusal, f"{call.request.url.path}#{index}")
    return ItemResult(index, made.status, event_id, problem=made.members)


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
    """Gives back exactly what the act drew: the same grants, the same allowance. Once an act."""
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
    fact = done.facts[-1].fact
    assert isinstance(fact, UsageVoided)
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
