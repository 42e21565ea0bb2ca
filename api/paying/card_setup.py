"""`POST /v1/billing/card-setup`: a page of Stripe's on which the customer saves a card."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.paying.urls import urls_of
from api.reads import newest_position

router = APIRouter(prefix="/v1/billing", tags=["billing"])


class CardSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the page leads to afterwards; our own Billing page, if left out."""

    success_url: str | None = None
    cancel_url: str | None = None


class CheckoutPage(msgspec.Struct, frozen=True):
    """Where to send the customer's browser."""

    checkout_url: str
    session_id: str
    payment_attempt_id: str


_setup = msgspec.json.Decoder(CardSetup)


@router.post(
    "/card-setup",
    **documented(
        "Save a card",
        "billing:write",
        body=CardSetup,
        optional_body=True,
        answers={200: CheckoutPage},
        examples={"back to us": {}},
        keyed=False,
    ),
)
async def set_up(request: Request) -> Response:
    """Once the page is completed the card is charged for top-ups, and automatic ones go on that
    had stopped for want of it. No automatic top-up begins by this."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_setup, body or b"{}")
    return await once(call, body, lambda key: _open(call, asked, key))


async def _open(call: Call, asked: CardSetup, key: str) -> Answer:
    house = call.house
    urls = urls_of(call, asked.success_url, asked.cancel_url, done="card")
    page, attempt = await house.ledger.open_card_page(
        house.till.payments, call.workspace_id, key, urls, await call.context()
    )
    return Answer(CheckoutPage(page.url, page.id, attempt), await newest_position(house))
