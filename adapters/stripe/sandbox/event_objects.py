"""Events, as the API lists them. Stripe keeps them for thirty days."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from adapters.stripe.sandbox.errors import missing
from adapters.stripe.sandbox.idempotency import KEPT_S as ANSWERS_KEPT_S
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, due, route

URL = "/v1/events"
DAY_S = 24 * 3600
KEPT_S = 30 * DAY_S


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Events, newest first, by type ("invoice.*" too), types, or whether they were delivered."""
    params = call.params
    since = max(_from(params.get("created")), call.now - KEPT_S + 1)
    wanted = params.get("types") or ([params["type"]] if "type" in params else ["*"])
    delivered = params.get("delivery_success")
    found = [
        event
        for event in call.books.since("event", "created", since)
        if any(fnmatchcase(event["type"], pattern) for pattern in wanted)
        and delivered in (None, event["pending_webhooks"] == 0)
    ]
    return listed(call, URL, found)


def _from(bounds: Any) -> int:
    given = bounds if isinstance(bounds, dict) else {"gte": bounds or 0}
    return max((int(given[name]) for name in ("gt", "gte") if name in given), default=0)


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One event."""
    event = call.books.get("event", call.path["id"])
    if event["created"] <= call.now - KEPT_S:
        raise missing("event", event["id"])
    return event


@due
def forget(books: Books, now: int) -> int | None:
    """Once a day, let go of what nobody can ask for any more. What waits to be delivered stays."""
    long_ago = now - KEPT_S
    oldest = books.earliest("event", "created", pending_webhooks=0)
    if oldest is not None and oldest <= long_ago:
        books.forget("event", "created", long_ago, pending_webhooks=0)
        books.forget("sandbox.delivery", "made", long_ago, state="delivered")
        books.forget("sandbox.answer", "at", now - ANSWERS_KEPT_S)
        oldest = books.earliest("event", "created", pending_webhooks=0)
    return None if oldest is None else -(-(oldest + KEPT_S) // DAY_S) * DAY_S
