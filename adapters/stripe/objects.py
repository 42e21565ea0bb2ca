"""Stripe's objects as JSON: one by its id, or all of a kind that were made lately."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
import stripe
from msgspec import Meta

from adapters.stripe.client import asking

T = TypeVar("T")

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

ID = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,254}\Z"
Id = Annotated[str, Meta(pattern=ID)]


class Expanded(msgspec.Struct):
    """A reference that holds its object."""

    id: Id


Reference = Id | Expanded | None


class Identified(msgspec.Struct):
    """An object that Stripe can be asked for."""

    id: Id


class Details(msgspec.Struct):
    """Whose invoice it is."""

    subscription: Reference = None
    metadata: dict[str, str] | None = None


class Parent(msgspec.Struct):
    """What an invoice is of."""

    subscription_details: Details | None = None


class Pictured(Identified):
    """What is read of the object in an event, if it is there at all."""

    object: str | None = None
    mode: str | None = None
    metadata: dict[str, str] | None = None
    customer: Reference = None
    payment_intent: Reference = None
    charge: Reference = None
    subscription: Reference = None
    released_subscription: Reference = None
    amount_refunded: int | None = None
    attempt_count: int | None = None
    next_payment_attempt: int | None = None
    last_finalization_error: dict[str, Any] | None = None
    parent: Parent | None = None
    lines: dict[str, Any] | None = None
    refunds: dict[str, Any] | None = None


class Unreadable(ValueError):
    """An event's picture of an object that Stripe cannot be asked for (now) says too little.
    Its text names the fields and types, never values."""


def fault_of(found: Any, kind: type = Pictured) -> str | None:
    """What is wrong with the object of an event; None for nothing."""
    try:
        msgspec.convert(found, kind)
    except msgspec.ValidationError as wrong:
        return str(wrong)
    return None


def pictured(read: Callable[[Mapping[str, Any]], T], found: Mapping[str, Any]) -> T:
    """What an event shows of an object that Stripe does not have (any more).

    :raises Unreadable: too little.
    """
    try:
        return read(found)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as wrong:
        raise Unreadable(
            f"Stripe does not have it, {type(wrong).__name__} in its picture"
        ) from None


def refs_in(payload: bytes) -> list[str]:
    """The ids of every Stripe object that a JSON text names, each once."""
    return sorted({found.decode() for found in REF.findall(payload)})


async def fetch(client: stripe.StripeClient, kind: str, id: str) -> dict[str, Any] | None:
    """An object as it is now; None if there is none, or can be none of this kind and id.

    :raises StripeUnavailable: Stripe cannot be asked.
    """
    if kind not in PATHS or re.search(ID, id) is None:
        return None  # an id becomes a part of a path: nothing else may stand in its place
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
