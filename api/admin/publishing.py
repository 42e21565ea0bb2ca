"""`/v1/admin/price-books`: what tokens cost. What is sold is in `api/contract/catalogue.py`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapters.prices import content_hash
from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.price_document import DOCUMENT, NewPriceBook
from api.reads import newest_position, reached
from api.running.due import price_unpriced
from domain.catalogue.price_book import PriceEntry
from domain.errors import InvalidInput
from domain.facts import Context

router = APIRouter(prefix="/v1/admin", tags=["admin"])


class PriceBookPublished(msgspec.Struct, frozen=True):
    """The version that now stands, and how many acts that had no price it has priced."""

    version: int
    price_book_version: int
    effective_from: datetime
    markup_bps: int
    entries: int
    content_sha256: str
    rated: int


EXAMPLE = {
    "effective_from": "2026-06-10T00:00:00Z",
    "markup_bps": 0,
    "entries": [
        {
            "provider": "openai",
            "model": "gpt-5.4",
            "input_usd_per_m": "2.00",
            "cached_input_usd_per_m": "0.20",
            "output_usd_per_m": "15.00",
        }
    ],
}


@router.post(
    "/price-books",
    **documented(
        "Publish prices",
        "admin",
        body=NewPriceBook,
        answers={201: PriceBookPublished},
        examples={"one model": EXAMPLE, "list prices": {"markup_bps": 500, "seed": "genai-prices"}},
        keyed=False,
        of="deployment",
    ),
)
async def publish_prices(request: Request) -> Response:
    """Strictly later than the version before; never in the past, where acts are rated already.
    Acts that were recorded without a price are priced by the first book that knows it, once: as
    soon as it is published, even if it comes into force later."""
    call = await enter(request, "admin", "deployment")
    body = await read_body(request)
    asked = parse(DOCUMENT, body)
    context = await call.context()
    currency = (await call.house.ledger.plans()).current.currency
    if asked.currency not in (None, currency):
        raise InvalidInput(("currency",), f"is {currency} here")
    effective_from = asked.starts_at(context.now)
    entries = asked.prices(effective_from)

    async def act(_: str) -> Answer:
        return await _publish(call, effective_from, asked.markup_bps, entries, context)

    return await once(call, body, act)


async def _publish(
    call: Call,
    effective_from: datetime,
    markup_bps: int,
    entries: tuple[PriceEntry, ...],
    context: Context,
) -> Answer:
    ledger = call.house.ledger
    digest = content_hash(effective_from, markup_bps, entries)
    currency = (await ledger.plans()).current.currency
    version = await ledger.publish_prices(
        effective_from, currency, markup_bps, entries, digest, context
    )
    await reached(call.house, await newest_position(call.house), ("usage_events", "balances"))
    rated = await price_unpriced(call.house, context)
    return Answer(
        PriceBookPublished(
            version, version, effective_from, markup_bps, len(entries), digest, rated
        ),
        await newest_position(call.house),
        201,
    )
