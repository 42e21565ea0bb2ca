"""How a module of the sandbox says what it answers to: API routes, pages, time, inclusions.

    @route("POST", "/v1/customers/{id}")
    def update(call: Call) -> Json: ...          # params are decoded and held to the contract

    @page("GET", "/pay/{id}")
    def show(visit: Visit) -> Html | Redirect: ...

    @due
    def renew(books: Books, now: int) -> int | None:
        '''Does what is due at or before `now`; answers when it next has work, or None.'''

    @includes("checkout.session", "line_items")
    def lines(books: Books, session: Json) -> Json: ...   # only in the answer when expanded

A module is registered by being imported in server.py. Everything one call, visit or instant
does is one transaction; a StripeError undoes it (see `StripeError.kept`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import StripeError

__all__ = [
    "Books", "Call", "Html", "Json", "Redirect", "StripeError", "Visit",
    "due", "includes", "page", "route",
]  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One request of the API. `params` are typed and known to the contract; absent is absent."""

    books: Books
    path: dict[str, str]
    params: Json
    idempotency_key: str | None = None

    @property
    def now(self) -> int:
        """The sandbox's time."""
        return self.books.now()


@dataclass(frozen=True)
class Visit:
    """A browser on one of our pages: `query` of the address, `form` of what was sent."""

    books: Books
    path: dict[str, str]
    query: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Html:
    """A page to show."""

    body: str
    status: int = 200


@dataclass(frozen=True)
class Redirect:
    """Where the browser goes next (303)."""

    url: str


Answer = Callable[[Call], Json]
Show = Callable[[Visit], Html | Redirect]
Due = Callable[[Books, int], int | None]
Include = Callable[[Books, Json], Any]

ROUTES: dict[tuple[str, str], Answer] = {}
PAGES: dict[tuple[str, str], Show] = {}
DUE: list[Due] = []
INCLUSIONS: dict[tuple[str, str], Include] = {}


def route(method: str, path: str) -> Callable[[Answer], Answer]:
    """This function answers an operation of Stripe's API."""

    def register(answer: Answer) -> Answer:
        ROUTES[method, path] = answer
        return answer

    return register


def page(method: str, path: str) -> Callable[[Show], Show]:
    """This function draws a hosted page, or does what its form says."""

    def register(show: Show) -> Show:
        PAGES[method, path] = show
        return show

    return register


def due(work: Due) -> Due:
    """This function does what time brings; it runs whenever the clock is looked at or moved.

    While it runs, `books.now()` is the instant it is given; instants come in order, so that
    work is done at the second it falls due however far the clock is moved at once.
    """
    DUE.append(work)
    return work


def includes(object_name: str, name: str) -> Callable[[Include], Include]:
    """This function makes a field that is only in an answer when it is expanded."""

    def register(include: Include) -> Include:
        INCLUSIONS[object_name, name] = include
        return include

    return register
