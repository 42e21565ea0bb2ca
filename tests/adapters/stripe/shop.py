"""A shop on the sandbox: a real server, asked by the real `stripe.StripeClient`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import stripe

from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.server import serving

Json = dict[str, Any]


def at(text: str) -> int:
    """An instant in UTC, such as "2026-06-16" or "2026-06-16T10:00:00", as unix seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def day(instant: int) -> str:
    """The inverse of `at`."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def plain(obj: Any) -> Json:
    """A Stripe object as JSON."""
    found: Json = obj.to_dict()
    return found


class Shop:
    """Starter at 10.00, Pro at 40.00 and Enterprise at 400.00 a month; time stands still."""

    def __init__(self, sandbox: Remote, now: str) -> None:
        self.sandbox = sandbox
        self.control = sandbox.control
        self.stripe = stripe.StripeClient("sk_test_shop", base_addresses={"api": sandbox.url})
        self.v1 = self.stripe.v1
        self.control.clock(at(now))
        self.starter = self.price("Starter", 1000)
        self.pro = self.price("Pro", 4000)
        self.enterprise = self.price("Enterprise", 40000)

    def price(self, name: str, amount: int, interval: Any = "month") -> str:
        """A new price of a new product."""
        product = self.v1.products.create({"name": name})
        price = self.v1.prices.create(
            {
                "product": product.id,
                "unit_amount": amount,
                "currency": "usd",
                "recurring": {"interval": interval},
            }
        )
        return price.id

    def customer(self, card: str | None = "pm_card_visa") -> str:
        """A new customer whose default card is this one."""
        customer = self.v1.customers.create({}).id
        if card is not None:
            self.control.card(customer, card)
        return customer

    def subscribe(self, price: str, card: str | None = "pm_card_visa", **more: Any) -> Json:
        """A new customer's subscription to one price."""
        wanted = {"customer": self.customer(card), "items": [{"price": price}], **more}
        return plain(self.v1.subscriptions.create(wanted))  # type: ignore[arg-type]

    def subscription(self, subscription: Json) -> Json:
        """It, as it is now."""
        return plain(self.v1.subscriptions.retrieve(subscription["id"]))

    def invoice(self, invoice_id: str) -> Json:
        """It, as it is now."""
        return plain(self.v1.invoices.retrieve(invoice_id))

    def latest(self, subscription: Json) -> Json:
        """The latest invoice of a subscription."""
        return self.invoice(self.subscription(subscription)["latest_invoice"])

    def change(self, subscription: Json, price: str, **more: Any) -> Json:
        """Change the price of a subscription's only item."""
        item = subscription["items"]["data"][0]["id"]
        wanted = {"items": [{"id": item, "price": price}], **more}
        return plain(self.v1.subscriptions.update(subscription["id"], wanted))  # type: ignore[arg-type]

    def preview(self, subscription: Json, price: str, **more: Any) -> Json:
        """The invoice that such a change would make."""
        item = subscription["items"]["data"][0]["id"]
        details = {"items": [{"id": item, "price": price}], **more}
        wanted = {"subscription": subscription["id"], "subscription_details": details}
        return plain(self.v1.invoices.create_preview(wanted))  # type: ignore[arg-type]

    def move(self, now: str | int) -> None:
        """Move time forward; all that falls due on the way is done."""
        self.control.clock(at(now) if isinstance(now, str) else now)

    def events(self, *prefixes: str) -> list[Json]:
        """The events so far, oldest first; those whose type begins so, if anything is given.

        From the sandbox's own books, since the API forgets events after 30 days as Stripe's does.
        """
        assert self.sandbox.books is not None
        found = reversed(self.sandbox.books.find("event"))
        return [e for e in found if not prefixes or e["type"].startswith(prefixes)]

    def types(self, *prefixes: str) -> list[str]:
        """The types of those events."""
        return [event["type"] for event in self.events(*prefixes)]


def amounts(invoice: Json) -> list[int]:
    """The amounts of an invoice's lines."""
    return [line["amount"] for line in invoice["lines"]["data"]]


@contextmanager
def shop(now: str = "2026-06-01") -> Iterator[Shop]:
    """A shop on a sandbox of its own; every answer and event is held to Stripe's contract."""
    with serving() as sandbox:
        yield Shop(sandbox, now)
