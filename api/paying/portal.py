"""`/v1/billing/portal`: the way to Stripe's page for cards, invoices and cancellation.

Stripe's address is good for one visit. What is shown to people (a banner, a mail) is a link of
ours, signed and good for days, that leads to a fresh one.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from adapters.settings import Settings
from api.call import Call, enter, parse, read_body
from api.house import House
from api.idempotency import Answer, once
from api.openapi import documented, query
from api.paying.urls import billing_page, web_address
from api.reads import newest_position
from domain.errors import Forbidden
from domain.facts import Context

router = APIRouter(prefix="/v1/billing/portal", tags=["billing"])

LIFE = timedelta(days=14)
Flow = Literal["payment_method_update"]


class PortalVisit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the portal leads back to, and the one act it is opened for, if it is one."""

    return_url: str | None = None
    flow: Flow | None = None


class PortalPage(msgspec.Struct, frozen=True):
    """Stripe's page, good for one visit."""

    url: str


class LinkNotValid(Forbidden):
    """The link was changed, or its time is over."""

    def __str__(self) -> str:
        return "This link is not valid any more; ask for a new one."


_visit = msgspec.json.Decoder(PortalVisit)


@router.post(
    "",
    **documented(
        "Open the customer portal",
        "billing:write",
        body=PortalVisit,
        optional_body=True,
        answers={200: PortalPage},
        examples={"a new card": {"flow": "payment_method_update"}},
        keyed=False,
    ),
)
async def open_portal(request: Request) -> Response:
    """Cards, e-mail address, invoices and cancelling; plans are changed here, with a preview."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_visit, body or b"{}")
    return await once(call, body, lambda _: _open(call, asked))


async def _open(call: Call, asked: PortalVisit) -> Answer:
    back = billing_page(str(call.request.base_url), call.workspace_id)
    if asked.return_url is not None:
        back = web_address(asked.return_url, "return_url")
    context = await call.context()
    url = await _page(call.house, call.workspace_id, back, asked.flow, context)
    return Answer(PortalPage(url), await newest_position(call.house))


@router.get(
    "",
    **documented(
        "Follow a link to the customer portal",
        None,
        answers={303: PortalPage},
        parameters=[
            query("workspace", "Whose portal"),
            query("expires", "When the link ends, unix seconds"),
            query("flow", "The one act it is for"),
            query("signature", "Ours"),
        ],
    ),
)
async def follow(request: Request) -> Response:
    """A signed link of ours: leads to Stripe's page, newly opened."""
    house: House = request.app.state.house
    given = request.query_params
    workspace_id, flow = given.get("workspace", ""), given.get("flow") or None
    expires = given.get("expires", "")
    now = await house.clock.now()
    expected = _signature(house.settings, workspace_id, expires, flow)
    signed = hmac.compare_digest(expected.encode(), given.get("signature", "").encode())
    if not signed or not house.settings.stripe_key or _ends(expires) <= now:
        raise Forbidden("This link is not valid any more; ask for a new one.")
    back = billing_page(str(request.base_url), workspace_id)
    context = Context(now, "portal_link", request.scope["correlation_id"])
    url = await _page(house, workspace_id, back, flow, context)
    return RedirectResponse(url, 303)


def portal_link(settings: Settings, workspace_id: str, now: datetime, flow: Flow | None) -> str:
    """The path of a link to the portal that people may be shown; good for two weeks."""
    expires = str(int((now + LIFE).timestamp()))
    fields = {"workspace": workspace_id, "expires": expires}
    if flow is not None:
        fields["flow"] = flow
    fields["signature"] = _signature(settings, workspace_id, expires, flow)
    return f"/v1/billing/portal?{urlencode(fields)}"


async def _page(
    house: House, workspace_id: str, back: str, flow: str | None, context: Context
) -> str:
    payments = house.till.payments
    customer = await house.ledger.stripe_customer(payments, workspace_id, context)
    return await payments.portal(customer, back, flow)


def _signature(settings: Settings, workspace_id: str, expires: str, flow: str | None) -> str:
    # Every process of a deployment knows this key, and nobody else does.
    key = sha256(b"portal links\0" + settings.stripe_key.encode()).digest()
    text = "\n".join(quote(part, safe="") for part in (workspace_id, expires, flow or ""))
    return hmac.new(key, text.encode(), sha256).hexdigest()


def _ends(expires: str) -> datetime:
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 10):
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromtimestamp(int(expires), UTC)
