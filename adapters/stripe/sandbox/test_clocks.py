"""Test clocks, as the API has them. They all show the sandbox's one clock, and move it."""

from __future__ import annotations

from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, due, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/test_helpers/test_clocks"
OBJECT = "test_helpers.test_clock"
KEPT_S = 30 * 24 * 3600


@route("POST", URL)
def create(call: Call) -> Json:
    """A new clock. The sandbox's own goes to its time and stops there."""
    only(call.params, ("frozen_time", "name"))
    frozen = _forward(call)
    clock: Json = {
        "id": call.books.new_id("clock"),
        "object": OBJECT,
        "created": call.now,
        "deletes_after": call.now + KEPT_S,
        "frozen_time": frozen,
        "livemode": False,
        "name": call.params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    call.books.freeze(frozen)
    call.books.emit("test_helpers.test_clock.created", call.books.put(clock))
    return clock


@route("POST", URL + "/{id}/advance")
def advance(call: Call) -> Json:
    """Move time on; what falls due on the way is done before anything else is answered."""
    only(call.params, ("frozen_time",))
    clock, frozen = call.books.get(OBJECT, call.path["id"]), _forward(call)
    under_way = {"advancing": {"target_frozen_time": frozen}}
    clock = clock | {"status": "advancing", "status_details": under_way}
    call.books.emit("test_helpers.test_clock.advancing", call.books.put(clock))
    call.books.put({"object": "sandbox.advance", "id": "advance", "to": frozen})
    return clock


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Clocks, newest first."""
    return listed(call, URL, _living(call.books))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One clock."""
    return call.books.get(OBJECT, call.path["id"])


@route("DELETE", URL + "/{id}")
def delete(call: Call) -> Json:
    """Delete a clock. (Stripe deletes its customers too; the sandbox leaves them.)"""
    clock = call.books.get(OBJECT, call.path["id"])
    call.books.emit("test_helpers.test_clock.deleted", clock)
    return call.books.put({"id": clock["id"], "object": OBJECT, "deleted": True})


@due
def arrive(books: Books, now: int) -> int | None:
    """A clock that was under way shows the time that it has reached."""
    for clock in books.find(OBJECT, status="advancing"):
        target = clock["status_details"]["advancing"]["target_frozen_time"]
        if target <= now:
            ready = {"status": "ready", "status_details": {}, "frozen_time": target}
            books.emit("test_helpers.test_clock.ready", books.put(clock | ready))
    waiting = books.find(OBJECT, status="advancing")
    times = [clock["status_details"]["advancing"]["target_frozen_time"] for clock in waiting]
    return min(times, default=None)


def _living(books: Books) -> list[Json]:
    return [clock for clock in books.find(OBJECT) if not clock.get("deleted")]


def _forward(call: Call) -> int:
    frozen: int = call.params["frozen_time"]
    if frozen < call.now and call.books.has_customers():
        text = "The sandbox's clock moves forward only."
        raise invalid(text, "frozen_time")
    return frozen
