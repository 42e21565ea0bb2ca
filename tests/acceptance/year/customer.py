"""One customer of the simulated year: a workspace, its cards, and its wishes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from random import Random
from typing import Any, ClassVar

from adapters.stripe.sandbox.books import Json
from adapters.stripe.sandbox.remote import Refused
from tests.acceptance.year.town import DAY, HOUR, Act, Town, stamp

GOOD, FAILS_LATER = "4242424242424242", "4000000000000341"
VISA, DECLINED = "pm_card_visa", "pm_card_chargeCustomerFail"


class Customer:
    """What customers of both products do. `weights` says how often, for each method of a name."""

    weights: ClassVar[Mapping[str, int]] = {}
    plans: ClassVar[tuple[str, ...]] = ()
    chattiness: ClassVar[int] = 14  # acts of usage that are sent together, at most

    def __init__(self, town: Town, number: int, arrives_at: datetime) -> None:
        self.town = town
        self.random = Random(f"{town.random.random()}:{number}")
        self.arrives_at = arrives_at
        self.id = ""
        self._given: list[str] = []  # acts that may be taken back

    @property
    def is_here(self) -> bool:
        """Whether it has signed up."""
        return bool(self.id)

    def arrive(self) -> None:
        """Sign up, and mostly subscribe to something at once."""
        made = None
        while made is None:  # the answer may be lost with who would have given it
            made = self.ask("arrive", "POST", "/v1/workspaces", {"name": "Acme"})
        self.id = made["workspace_id"]
        if self.random.random() < 0.85:
            self.subscribe()

    def act(self) -> None:
        """One wish. Whoever has no plan mostly wants one."""
        if self.random.random() < 0.15 and not self._subscriptions():
            self.subscribe()
            return
        names = list(self.weights)
        [name] = self.random.choices(names, [self.weights[one] for one in names])
        wish: Act = getattr(self, name)
        wish()

    # The contract.

    def subscribe(self) -> None:
        """Buy a plan on Stripe's page, or try to; nobody in his right mind does so twice."""
        if self._subscriptions():
            return
        plan = self.random.choice(self._wanted())
        session = self.ask("subscribe", "POST", f"/v1/billing/checkout?plan={plan}", {})
        if session is None:
            return
        card = self.random.choices((GOOD, FAILS_LATER), (6, 1))[0]
        outcome = self.random.choices(("pay", "cancel", "delayed"), (12, 1, 1))[0]
        self.town.order(f"/checkout/{session['session_id']}", outcome=outcome, card=card)

    def settle_debits(self) -> None:
        """Bank debits that were under way come to their end."""
        for session in self._at_stripe("checkout.session", status="complete"):
            if session["payment_status"] == "unpaid" and session["mode"] == "subscription":
                outcome = self.random.choice(("settle", "settle", "fail"))
                if self._subscriptions():
                    outcome = "fail"
                with suppress(Refused):  # it had failed before
                    self.town.order(f"/checkout/{session['id']}", outcome=outcome)

    def cancel(self) -> None:
        """End it with the period, through us."""
        self.ask("cancel", "POST", "/v1/billing/subscription/cancel", {})

    def cancel_in_portal(self) -> None:
        """End it with the period, at Stripe."""
        for one in self._subscriptions():
            flag = "true" if one["cancel_at"] is None else "false"
            if self.town.at_stripe(
                "POST", f"/subscriptions/{one['id']}", cancel_at_period_end=flag
            ):
                self.town.acts[f"portal cancel {flag}"] += 1

    def resume(self) -> None:
        """Let it go on after all."""
        self.ask("resume", "POST", "/v1/billing/subscription/resume", {})

    # Cards and unpaid invoices.

    def change_card(self) -> None:
        """Another card from now on; it may be one that fails."""
        if (customer := self._customer()) is None:
            return
        card = self.random.choices((VISA, DECLINED), (3, 2))[0]
        saved = self.town.order("/cards", customer=customer["id"], card=card)
        self.town.acts[f"card {card}"] += 1
        for one in self._subscriptions():
            path = f"/subscriptions/{one['id']}"
            self.town.at_stripe("POST", path, default_payment_method=saved["id"])

    def pay_up(self) -> None:
        """Pay what is open at Stripe with a card that works."""
        invoices = [
            one
            for one in self._at_stripe("invoice", status="open")
            # Who pays for what never came into force is the support's business.
            if one["billing_reason"] != "subscription_create"
        ]
        if not invoices:
            return
        customer = self._customer()
        assert customer is not None
        card = self.town.order("/cards", customer=customer["id"], card=VISA)["id"]
        for one in self._subscriptions():
            path = f"/subscriptions/{one['id']}"
            self.town.at_stripe("POST", path, default_payment_method=card)
        for invoice in invoices[: self.random.randint(1, len(invoices))]:
            path = f"/invoices/{invoice['id']}/pay"
            if self.town.at_stripe("POST", path, payment_method=card):
                self.town.acts["invoice paid late"] += 1

    def be_forgiven(self) -> None:
        """The support voids an open invoice at Stripe."""
        for invoice in self._at_stripe("invoice", status="open")[:1]:
            if self.town.at_stripe("POST", f"/invoices/{invoice['id']}/void"):
                self.town.acts["invoice voided"] += 1

    def be_refunded(self) -> None:
        """Somebody gives a part of a payment back in Stripe's dashboard."""
        charges = [
            one
            for one in self._at_stripe("charge", status="succeeded")
            if one["amount_refunded"] < one["amount"]
        ]
        if charges:
            charge = self.random.choice(charges)
            left = charge["amount"] - charge["amount_refunded"]
            amount = self.random.choice((left, self.random.randint(1, left)))
            if self.town.at_stripe("POST", "/refunds", charge=charge["id"], amount=amount):
                self.town.acts["refund"] += 1

    def deal_with_dispute(self) -> None:
        """A holder disputes a payment, or a bank decides about that."""
        disputes = [
            one
            for charge in self._at_stripe("charge", disputed=True)
            for one in self.town.books.find("dispute", charge=charge["id"])
            if one["status"] == "needs_response"
        ]
        if disputes:
            self.town.order(f"/disputes/{disputes[0]['id']}", step="won")
            self.town.acts["dispute won"] += 1
            return
        charges = [
            one
            for one in self._at_stripe("charge", status="succeeded")
            if not one["disputed"] and not one["amount_refunded"]
        ]
        if charges and self.random.random() < 0.25:
            self.town.order("/disputes", charge=self.random.choice(charges)["id"])
            self.town.acts["dispute"] += 1

    # Usage.

    def use(self) -> None:
        """Some acts at once, as services send them."""
        count = self.random.randint(1, self.chattiness)
        self._send([self.usage() for _ in range(count)])

    def report_late(self) -> None:
        """Acts of days ago, which already happened."""
        acts = []
        for _ in range(self.random.randint(1, 3)):
            ago = self.random.choice((HOUR, 3 * DAY, 20 * DAY, 34 * DAY)) * self.random.random()
            occurred = (self.town.now - ago).replace(microsecond=0)
            acts.append(self.usage() | {"mode": "record", "occurred_at": stamp(occurred)})
        self._send(acts)

    def usage(self) -> Json:
        """One metered act."""
        raise NotImplementedError

    def _send(self, acts: list[Json]) -> None:
        done = self.ask("use", "POST", "/v1/usage/batch", {"items": acts})
        for result in done["results"] if done is not None else ():
            self.town.acts[f"use: {result.get('problem', {}).get('code', result['status'])}"] += 1
            assert result["status"] in (200, 201, 402), result
            if result["status"] == 201:
                self._given.append(result["result"]["usage_id"])

    def give_back(self) -> None:
        """The service takes an act back that it should not have sent."""
        if self._given:
            act = self._given.pop(self.random.randrange(len(self._given)))
            self.ask("void", "POST", f"/v1/usage/{act}/void", {"reason": "a mistake"})

    # Parts.

    def _wanted(self) -> tuple[str, ...]:
        """Plans that it may take."""
        return self.plans

    def ask(self, act: str, method: str, path: str, body: Any = None) -> Any:
        """Ask our API as this workspace."""
        return self.town.ask(act, method, path, body, self.id or None)

    def get(self, path: str) -> Any:
        """A read that must succeed."""
        return self.town.shop.app.get(path, self.id)

    def event_id(self) -> str:
        """What a service calls an act."""
        return f"act_{self.town.number()}"

    def _customer(self) -> Json | None:
        found = self.town.books.find("customer", metadata__workspace_id=self.id)
        return found[0] if found else None

    def _subscriptions(self) -> list[Json]:
        live = ("active", "past_due", "unpaid")
        return [one for one in self._at_stripe("subscription") if one["status"] in live]

    def _at_stripe(self, kind: str, **equal: Any) -> list[Json]:
        """Stripe's objects of this customer's, newest first."""
        customer = self._customer()
        if customer is None:
            return []
        return self.town.books.find(kind, customer=customer["id"], **equal)
