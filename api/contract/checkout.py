"""`POST /v1/billing/checkout`: a page of Stripe's on which a plan is subscribed to."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, query
from api.paying.urls import urls_of
from api.reads import newest_position
from domain.contract.subscribing import Paths
from domain.errors import InvalidInput
from domain.payment.facts import payment_stream

router = APIRouter(prefix="/v1/billing", tags=["billing"])


class Checkout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the page leads to afterwards; our own Billing page, if left out."""

    success_url: str | None = None
    cancel_url: str | None = None


class PlanPage(msgspec.Struct, frozen=True):
    """Where to send the customer's browser."""

    checkout_url: str
    session_id: str


_checkout = msgspec.json.Decoder(Checkout)


@router.post(
    "/checkout",
    **documented(
        "Subscribe to a plan",
        "billing:write",
        body=Checkout,
        optional_body=True,
        answers={200: PlanPage},
        examples={"back to us": {}},
        parameters=[
            query("plan", "The plan to subscribe to") | {"required": True, "example": "starter"}
        ],
        keyed=False,
    ),
)
async def check_out(request: Request) -> Response:
    """Neither this call nor the way back from the page puts anything in force: Stripe's word
    that it is paid does, once."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_checkout, body or b"{}")
    plan = request.query_params.get("plan")
    if not plan or len(plan) > 255:
        raise InvalidInput(("query", "plan"), "must name a plan")
    return await once(call, body, lambda key: _open(call, plan, asked, key))


async def _open(call: Call, plan: str, asked: Checkout, key: str) -> Answer:
    house = call.house
    urls = urls_of(call, asked.success_url, asked.cancel_url, done="plan")
    stream = payment_stream("subscription_checkout", call.workspace_id, key)
    session = await house.ledger.subscribe(
        house.till.contracts,
        call.workspace_id,
        plan,
        stream,
        Paths(urls.success, urls.cancel),
        await call.context(),
    )
    return Answer(PlanPage(session.url or "", session.id), await newest_position(house))
