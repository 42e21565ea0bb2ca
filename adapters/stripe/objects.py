"""Stripe's objects as JSON: one by its id, or all of a kind that were made lately."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import stripe

from adapters.stripe.client import asking

NOT_FOUND = 404
PAGE = 100

PATHS: Mapping[str, str] = {
    "charge": "charges",
    "checkout.session": "checkout/sessions",
    "customer": "customers",
    "dispute": "disputes",
    "event": "events",
    "invoice": "invoices",
    "payment_intent": "payment_intents",
    "payment_method": "payment_methods",
    "price": "prices",
    "refund": "refunds",
    "setup_intent": "setup_intents",
    "subscription": "subscriptions",
    "subscription_schedule": "subscription_schedules",
}
"""Where the objects of a kind are."""

REF = re.compile(
    rb'"((?:ch|cs|cus|dp|du|in|pi|pm|py|pyr|re|seti|si|sub|sub_sched)_[A-Za-z0-9_]{6,255})"'
)


def refs_in(payload: bytes) -> list[str]:
    """The ids of every Stripe object that a JSON text names, each once."""
    return sorted({found.decode() for found in REF.findall(payload)})


async def fetch(client: stripe.StripeClient, kind: str, id: str) -> dict[str, Any] | None:
    """An object as it is now; None if there is none, or if its kind has no place of its own.

    :raises StripeUnavailable: Stripe cannot be asked.
    """
    if kind not in PATHS:
        return None
    try:
        return await _get(client, f"/v1/{PATHS[kind]}/{id}")
    except stripe.InvalidRequestError as error:
        if error.http_status == NOT_FOUND:
            return None
        raise


async def listed(
    client: stripe.StripeClient, kind: str, **params: str | int
) -> AsyncIterator[dict[str, Any]]:
    """Every object of a kind, newest first, as many pages as it takes.

    :raises StripeUnavailable: Stripe cannot be asked.
    """
    last: dict[str, str] = {}
    while True:
        query = urlencode({"limit": PAGE, **params, **last})
        page = await _get(client, f"/v1/{PATHS[kind]}?{query}")
        for one in page["data"]:
            yield one
        if not page["has_more"]:
            return
        last = {"starting_after": page["data"][-1]["id"]}


async def _get(client: stripe.StripeClient, path: str) -> dict[str, Any]:
    with asking(f"GET {path.partition('?')[0]}"):
        answer = await client.raw_request_async("get", path)
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found
