"""`/v1/admin/price-books`: what tokens cost. What is sold is in `api/contract/catalogue.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from adapters.prices import content_hash, list_prices
from api.amounts import micros
from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.reads import newest_position, reached
from api.running.due import price_unpriced
from domain.account.usage import Label
from domain.catalogue.price_book import PriceEntry
from domain.errors import InvalidInput
from domain.facts import Context

router = APIRouter(prefix="/v1/admin", tags=["admin"])

ENTRIES_MAX = 10_000


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's price, in USD for a million tokens; cached input is full price if left out."""

    model: Label
    input_usd_per_m: Decimal
    output_usd_per_m: Decimal
    cached_input_usd_per_m: Decimal | None = None
    provider: Annotated[str, Meta(max_length=255)] = ""


class NewPriceBook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices from `effective_from` on (now, if left out): a list, or the public list prices."""

    markup_bps: Annotated[int, Meta(ge=0, le=1_000_000)]
    effective_from: Annotated[datetime, Meta(tz=True)] | None = None
    entries: list[Price] | None = None
    seed: Literal["genai-prices"] | None = None


class PriceBookPublished(msgspec.Struct, frozen=True):
    """The version that now stands, and how many acts that had no price it has priced."""

    version: int
    price_book_version: int
    effective_from: datetime
    markup_bps: int
    entries: int
    content_sha256: str
    rated: int


_prices = msgspec.json.Decoder(NewPriceBook)
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
    asked = parse(_prices, body)
    if (asked.entries is None) == (asked.seed is None):
        raise InvalidInput(("entries",), "give either entries, or a seed")
    context = await call.context()
    try:
        effective_from = (asked.effective_from or context.now).astimezone(UTC)
    except OverflowError:
        raise InvalidInput(("effective_from",), "must be within the years 1 to 9999") from None
    entries = (
        list_prices(effective_from)
        if asked.entries is None
        else tuple(_entry(index, price) for index, price in enumerate(asked.entries))
    )
    if len(entries) > ENTRIES_MAX:
        raise InvalidInput(("entries",), f"at most {ENTRIES_MAX} prices")

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


def _entry(index: int, price: Price) -> PriceEntry:
    def micros_of(field: str, value: Decimal) -> int:
        amount = micros(value, "entries", index, field, digits=6)
        if amount < 0:
            raise InvalidInput(("entries", index, field), "must not be negative")
        return amount

    cached = price.cached_input_usd_per_m
    return PriceEntry(
        price.model,
        micros_of("input_usd_per_m", price.input_usd_per_m),
        micros_of("cached_input_usd_per_m", price.input_usd_per_m if cached is None else cached),
        micros_of("output_usd_per_m", price.output_usd_per_m),
        provider=price.provider,
    )
