"""The Billing page: money in, the card, the plan, overage and invoices of one workspace.

Every act is a form that is posted here and carried out by our own API (inside.py), with the
signed-in key's scopes. The page works without scripting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from api.dashboard import billing_figures, pages, session
from api.dashboard.inside import Inside, Told
from api.dashboard.page_route import PageRoute
from api.house import House
from domain.errors import NotFound

router = APIRouter(route_class=PageRoute, include_in_schema=False)

STRIPE_PAGES: Final = "https://checkout.stripe.com https://billing.stripe.com"

DONE: Final = {
    "topup": "The credits have been added.",
    "pending": "The payment is under way. The credits appear as soon as it has come through.",
    "card": "The card has been saved.",
    "auto": "Automatic top-up has been saved.",
    "applied": "The plan has been changed.",
    "scheduled": "The plan changes with the next period.",
    "pending_payment": "The plan changes as soon as the payment has come through.",
    "kept": "The plan stays as it is.",
    "plan": "Welcome to your new plan.",
    "cancelled": "The plan ends with its period.",
    "resumed": "The plan goes on.",
    "overage": "Overage has been saved.",
}
REFUSALS: Final = {
    "card_declined": "The card was declined. Nothing was charged.",
    "authentication_required": "The bank asks whether it is you. Nothing was charged yet.",
    "payment_method_required": "There is no card on file.",
    "preview_stale": "The figures have changed since they were shown. Nothing was changed.",
    "subscription_past_due": "An invoice is unpaid. Pay it before the plan can change.",
    "stripe_unavailable": "Stripe does not answer now. Nothing was changed.",
    "forbidden": "This key may look, but not change anything.",
}
SUSPENDED: Final = {
    "declines": "the card was declined three times",
    "authentication_required": "the bank asks whether it is you",
    "no_card": "there is no card",
    "cap": "the month's limit is reached",
    "frozen": "the account is frozen",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody at the Billing page of a workspace; ``form`` is what was posted."""

    request: Request
    workspace_id: str
    inside: Inside
    form: dict[str, str]

    @property
    def here(self) -> str:
        """The page's own address."""
        return pages.path("w", self.workspace_id, "billing")

    def back(self, **said: str) -> str:
        """The page's whole address, for Stripe to lead back to."""
        base = str(self.request.base_url).rstrip("/")
        return f"{base}{self.here}{'?' + urlencode(said) if said else ''}"


@router.get("/w/{workspace_id}/billing")
async def show(request: Request, workspace_id: str) -> Response:
    """The page; ``?done=`` says what has just been done."""
    visit = await _enter(request, workspace_id)
    return await _page(visit, done=request.query_params.get("done", ""))


@router.post("/w/{workspace_id}/billing/{act}")
async def act(request: Request, workspace_id: str, act: str) -> Response:
    """Carry out one of the page's forms."""
    session.require_same_origin(request)
    form = await session.read_form(request)
    visit = await _enter(request, workspace_id, form)
    if act not in ACTS:
        raise NotFound("act", act)
    return await ACTS[act](visit)


@router.get("/w/{workspace_id}/billing/invoices/{invoice_id}")
async def document(request: Request, workspace_id: str, invoice_id: str) -> Response:
    """An invoice or a receipt as PDF."""
    visit = await _enter(request, workspace_id)
    path = f"{pages.path('v1', 'billing', 'invoices', invoice_id)}/pdf"
    told = await visit.inside.document(path)
    if not told.is_success:
        raise NotFound("invoice", invoice_id)
    headers = {name: pages.HEADERS[name] for name in ("Cache-Control", "X-Content-Type-Options")}
    headers["Content-Disposition"] = told.headers["content-disposition"]
    return Response(told.content, headers=headers, media_type="application/pdf")


# -- money and cards ------------------------------------------------------------------------------


async def _top_up(visit: Visit) -> Response:
    told = await visit.inside.send(
        *("POST", "/v1/billing/topup"),
        {"amount_usd": visit.form.get("amount_usd", "").strip()},
        key=_key(visit),
    )
    if told.ok and (url := told.body.get("checkout_url")):
        return _away(str(url))
    return await _done(visit, told, "topup" if told.status == 200 else "pending")


async def _save_card(visit: Visit) -> Response:
    return await _lead_away(visit, "/v1/billing/card-setup", "checkout_url", done="card")


async def _auto_top_up(visit: Visit) -> Response:
    form = visit.form
    body: dict[str, Any] = {"enabled": form.get("enabled") == "on"}
    for name in ("threshold_usd", "amount_usd", "target_usd", "monthly_cap_usd"):
        if text := form.get(name, "").strip():
            body[name] = text
    told = await visit.inside.send("PUT", "/v1/billing/auto-topup", body, key=_key(visit))
    return await _done(visit, told, "auto")


async def _portal(visit: Visit) -> Response:
    body = {"return_url": visit.back()}
    if visit.form.get("flow"):
        body["flow"] = visit.form["flow"]
    told = await visit.inside.send("POST", "/v1/billing/portal", body)
    return _away(str(told.body["url"])) if told.ok else await _refused(visit, told)


# -- the plan -------------------------------------------------------------------------------------


async def _preview(visit: Visit) -> Response:
    plan = visit.form.get("plan", "")
    told = await visit.inside.send("POST", "/v1/billing/plan-change/preview", {"plan": plan})
    if not told.ok:
        return await _refused(visit, told)
    if told.body.get("requires_checkout"):
        return await _checkout(visit)
    house = _house(visit.request)
    currency = (await house.ledger.account(visit.workspace_id)).currency
    return _html(
        visit,
        "billing_preview.html",
        workspace=await billing_figures.tenant(house, visit.workspace_id),
        currency=currency,
        here=visit.here,
        plan=plan,
        quote=billing_figures.quote(told.body, currency),
        key=uuid4().hex,
    )


async def _confirm(visit: Visit) -> Response:
    body = {"preview_id": visit.form.get("preview_id", "")}
    told = await visit.inside.send("POST", "/v1/billing/plan-change/confirm", body, key=_key(visit))
    if told.ok and (url := told.body.get("payment_url")):
        return _away(str(url))
    return await _done(visit, told, str(told.body.get("status", "")))


async def _keep_plan(visit: Visit) -> Response:
    told = await visit.inside.send("DELETE", "/v1/billing/plan-change")
    return await _done(visit, told, "kept")


async def _checkout(visit: Visit) -> Response:
    plan = visit.form.get("plan", "")
    where = f"/v1/billing/checkout?{urlencode({'plan': plan})}"
    return await _lead_away(visit, where, "checkout_url", done="plan", plan=plan)


async def _cancel(visit: Visit) -> Response:
    told = await visit.inside.send("POST", "/v1/billing/subscription/cancel", {}, key=_key(visit))
    return await _done(visit, told, "cancelled")


async def _resume(visit: Visit) -> Response:
    told = await visit.inside.send("POST", "/v1/billing/subscription/resume", {}, key=_key(visit))
    return await _done(visit, told, "resumed")


async def _overage(visit: Visit) -> Response:
    body = {"enabled": visit.form.get("enabled") == "on"}
    told = await visit.inside.send("PUT", "/v1/billing/overage", body, key=_key(visit))
    return await _done(visit, told, "overage")


ACTS: dict[str, Callable[[Visit], Awaitable[Response]]] = {
    "topup": _top_up,
    "card": _save_card,
    "auto-topup": _auto_top_up,
    "portal": _portal,
    "preview": _preview,
    "confirm": _confirm,
    "keep-plan": _keep_plan,
    "checkout": _checkout,
    "cancel": _cancel,
    "resume": _resume,
    "overage": _overage,
}


# -- answers --------------------------------------------------------------------------------------


async def _enter(request: Request, workspace_id: str, form: dict[str, str] | None = None) -> Visit:
    await session.viewer(request, workspace_id)
    return Visit(request, workspace_id, Inside(request, workspace_id), form or {})


async def _lead_away(visit: Visit, path: str, field: str, **said: str) -> Response:
    """To a page at Stripe, from which people come back here."""
    body = {"success_url": visit.back(**said), "cancel_url": visit.back()}
    told = await visit.inside.send("POST", path, body, key=_key(visit))
    return _away(str(told.body[field])) if told.ok else await _refused(visit, told)


async def _done(visit: Visit, told: Told, said: str) -> Response:
    if not told.ok:
        return await _refused(visit, told)
    return RedirectResponse(f"{visit.here}?{urlencode({'done': said})}", 303, pages.HEADERS)


async def _refused(visit: Visit, told: Told) -> Response:
    return await _page(visit, refused=told)


async def _page(visit: Visit, done: str = "", refused: Told | None = None) -> Response:
    house = _house(visit.request)
    figures = await billing_figures.figures(house, visit.inside, visit.workspace_id)
    wanted = visit.request.query_params.get("plan", figures["subscription"]["plan"])
    return _html(
        visit,
        "billing.html",
        200 if refused is None else refused.status,
        **figures,
        here=visit.here,
        done=done,
        done_words=DONE,
        refusal_words=REFUSALS,
        suspended_words=SUSPENDED,
        # Stripe's webhook may still be under way when the browser is back already.
        waits=(done == "card" and figures["card"] is None)
        or (done == "plan" and figures["subscription"]["plan"] != wanted),
        refused=None if refused is None else billing_figures.refusal(refused),
        key=uuid4().hex,
    )


def _html(visit: Visit, template: str, status: int = 200, **context: Any) -> Response:
    body = pages.fragment(template, signed_in=True, **context)
    return HTMLResponse(body, status, _headers(_house(visit.request)))


def _headers(house: House) -> dict[str, str]:
    """As every page's; but a form here may lead on to Stripe, which browsers must be told."""
    allowed = STRIPE_PAGES
    if house.settings.stripe_url is not None:
        at = urlsplit(house.settings.stripe_url)
        allowed = f"{at.scheme}://{at.netloc}"
    policy = pages.HEADERS["Content-Security-Policy"]
    return pages.HEADERS | {
        "Content-Security-Policy": policy.replace(
            "form-action 'self'", f"form-action 'self' {allowed}"
        )
    }


def _away(url: str) -> Response:
    return RedirectResponse(url, 303, pages.HEADERS)


def _key(visit: Visit) -> str:
    """Made with the form: sent twice, the form is carried out once."""
    return visit.form.get("key") or uuid4().hex


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house
