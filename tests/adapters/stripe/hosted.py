"""Somebody at the sandbox's hosted pages, without a browser: forms are read and posted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any

import httpx
import stripe

from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.server import serving

SUCCESS = "http://127.0.0.1:9/done?session={CHECKOUT_SESSION_ID}"
CANCEL = "http://127.0.0.1:9/back"
TOKEN = re.compile(r'name="token" value="([0-9a-f]+)"')


class Sandbox:
    """A running sandbox, Stripe's own client for it, and a person with a browser."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.control = remote.control
        self.client = stripe.StripeClient(
            "sk_test_pages", base_addresses={"api": remote.url}, max_network_retries=0
        )
        self.http = httpx.Client(base_url=remote.url, trust_env=False, timeout=20)

    def customer(self, **fields: Any) -> str:
        """The id of a new customer."""
        return self.client.v1.customers.create(fields).id  # type: ignore[arg-type]

    def session(self, **fields: Any) -> stripe.checkout.Session:
        """A new checkout session."""
        asked = {"success_url": SUCCESS, "cancel_url": CANCEL} | fields
        return self.client.v1.checkout.sessions.create(asked)  # type: ignore[arg-type]

    def again(self, session: stripe.checkout.Session, *expand: str) -> stripe.checkout.Session:
        """The session as it is now."""
        return self.client.v1.checkout.sessions.retrieve(session.id, {"expand": list(expand)})

    def events(self, *kinds: str) -> list[str]:
        """The types of what happened, oldest first; only some of them if they are named."""
        found = self.client.v1.events.list({"limit": 100}).data[::-1]
        return [event.type for event in found if not kinds or event.type in kinds]

    def open(self, url: str) -> httpx.Response:
        """A page of the sandbox."""
        return self.http.get(url.removeprefix(self.remote.url))

    def post(self, url: str, **form: str) -> httpx.Response:
        """Open a page, and post its form."""
        token = TOKEN.search(self.open(url).text)
        assert token is not None, "the page has no form"
        return self.http.post(url.removeprefix(self.remote.url), data={"token": token[1], **form})


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """A sandbox that holds everything it says to the contract."""
    with serving(strict=True) as remote:
        yield Sandbox(remote)


def words(response: httpx.Response) -> str:
    """The text of a page."""
    return unescape(re.sub(r"<[^>]+>", " ", response.text.partition("</style>")[2]))
