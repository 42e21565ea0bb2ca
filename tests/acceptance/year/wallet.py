"""The wallet of one workspace, recomputed: what acts cost, what was paid in, what went back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

from tests.acceptance.year.arithmetic import MINOR, cost_of, half_even
from tests.acceptance.year.documents import pages
from tests.acceptance.year.journal import Entry, Journal, moment
from tests.acceptance.year.town import Town

PAID_BY_CARD = ("card_topup", "auto_topup")


@dataclass
class Owed:
    """A part of something that no grant paid, and who has repaid it since."""

    act: str | None
    left: int  # µ
    by: dict[str, int] = field(default_factory=dict)  # grant -> µ


@dataclass
class Wallet:
    """Folds the account's facts; `wrong` says where one is not what it must be."""

    journal: Journal
    workspace: str
    balance: int = 0  # µ
    paid_in: dict[str, int] = field(default_factory=dict)  # payment -> µ
    went_back: dict[str, int] = field(default_factory=dict)  # payment -> µ
    ends: dict[str, datetime] = field(default_factory=dict)  # grant -> when it is over
    took: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)  # act -> µ, by grant
    owed: list[Owed] = field(default_factory=list)  # in the order in which it is repaid
    wrong: list[str] = field(default_factory=list)

    def fold(self) -> Wallet:
        """Take in everything."""
        for entry in self.journal.by_workspace[self.workspace]:
            data = entry.data
            if entry.kind in ("Debited", "UsageRecorded") and data.get("usage"):
                self._act(entry, data)
            elif entry.kind == "UsageVoided":
                self._give_back(entry, data)
            elif entry.kind == "Credited" and data.get("expires_at"):
                self.ends[data["grant_id"]] = moment(data["expires_at"])
            if entry.kind == "Credited" and data["source"] in PAID_BY_CARD:
                payment = data["payment_attempt_id"]
                if payment in self.paid_in:
                    self._say(entry, f"a second credit of {payment}")
                self.paid_in[payment] = data["amount"]
            elif entry.kind in ("CreditsReversed", "CreditsReinstated"):
                sign = 1 if entry.kind == "CreditsReversed" else -1
                payment = data["payment_attempt_id"]
                self.went_back[payment] = self.went_back.get(payment, 0) + sign * data["amount"]
            self._owe(entry, data)
            self._repay(entry, data)
            self._move(entry, data)
        return self

    def _owe(self, entry: Entry, data: dict[str, Any]) -> None:
        if entry.kind == "Debited" and "grant" not in data:
            gave = sum(data.get("shares", {}).values())
        elif entry.kind == "CreditsReversed":
            gave = sum(data.get("grants", {}).values())
        else:
            return
        if data["amount"] > gave:
            act = data["usage"]["event_id"] if data.get("usage") else None
            self.owed.append(Owed(act, data["amount"] - gave))

    def _repay(self, entry: Entry, data: dict[str, Any]) -> None:
        """What comes in repays what is owed, the oldest first."""
        came = [(one["grant_id"], one["remaining"]) for one in data.get("returned", ())]
        if entry.kind in ("Credited", "CreditsReinstated"):
            came.insert(0, (data["grant_id"], data["amount"] - sum(part for _, part in came)))
        for grant, amount in came:
            rest = amount
            for debt in self.owed:
                part = min(debt.left, rest)
                debt.left -= part
                rest -= part
                if part:
                    debt.by[grant] = debt.by.get(grant, 0) + part

    def against(self, town: Town) -> list[str]:
        """What the API, the receipts and Stripe say otherwise."""
        app, where = town.shop.app, self.workspace
        wrong = list(self.wrong)
        said = app.get("/v1/billing/balance", where, consistency="strong")["balance_micros"]
        if said != self.balance:
            wrong.append(f"{where}: the balance is shown as {said}, recomputed {self.balance}")
        receipts = {
            view["id"]: view["total_minor"] * MINOR
            for view in pages(lambda **query: app.get("/v1/billing/invoices", where, **query))
            if view["kind"] == "receipt"
        }
        if sorted(receipts.values()) != sorted(self.paid_in.values()):
            wrong.append(f"{where}: receipts {receipts}, credited {self.paid_in}")
        return wrong + self._against_stripe(town)

    def _against_stripe(self, town: Town) -> list[str]:
        paid: dict[str, int] = {}
        back: dict[str, int] = {}
        books = town.books
        for intent in books.find("payment_intent", metadata__workspace_id=self.workspace):
            if intent["status"] != "succeeded":
                continue
            payment = intent["metadata"]["payment_attempt_id"]
            paid[payment] = intent["amount_received"] * MINOR
            gone = sum(
                one["amount"]
                for one in books.find("refund", payment_intent=intent["id"])
                if one["status"] not in ("failed", "canceled")
            ) - sum(
                move["amount"]
                for one in books.find("dispute", payment_intent=intent["id"])
                for move in one["balance_transactions"]
            )
            if gone:
                back[payment] = min(gone, intent["amount_received"]) * MINOR
        went_back = {payment: amount for payment, amount in self.went_back.items() if amount}
        wrong = []
        if paid != self.paid_in:
            wrong.append(f"{self.workspace}: paid at Stripe {paid}, credited {self.paid_in}")
        if back != went_back:
            wrong.append(f"{self.workspace}: given back at Stripe {back}, here {went_back}")
        return wrong

    def _move(self, entry: Entry, data: dict[str, Any]) -> None:
        if entry.amount is None:
            return
        self.balance += entry.amount
        if data.get("after") != self.balance:
            self._say(entry, f"says {data.get('after')} is left, recomputed {self.balance}")

    def _act(self, entry: Entry, data: dict[str, Any]) -> None:
        """What it cost, and the wallet's part of that: what no other source paid for."""
        usage = data["usage"]
        amount = data["amount"] if entry.kind == "Debited" else 0
        grant = data.get("grant")
        shares = {grant: amount} if grant is not None else data.get("shares", {})
        self.took[usage["event_id"]] = (amount, shares)
        if "llm_model" not in usage or usage["meter"] == "chat_generation":
            return
        tokens = usage.get("tokens", {})
        exact = self._cost(usage, moment(usage.get("occurred_at", data["at"])))
        total = half_even(exact)
        draws = [*data.get("draws", ()), *data.get("other_draws", ())]
        units = tokens.get("input", 0) + tokens.get("output", 0)
        others = {draw["source"] for draw in draws}
        if others & {"oauth"} or usage["meter"] == "chat":
            share = total
        else:
            paid = sum(draw.get("units", 0) for draw in draws)
            share = half_even(exact * (units - paid) / units) if units else 0
        elsewhere = sum(d.get("amount", 0) for d in draws if d["source"] in ("oauth", "absorbed"))
        if amount + elsewhere != share:
            self._say(entry, f"took {amount} and {elsewhere} µ, recomputed {share} of {exact}")
        if data.get("total", amount) != total and entry.kind == "Debited":
            self._say(entry, f"cost {data.get('total', amount)}, recomputed {total}")

    def _give_back(self, entry: Entry, data: dict[str, Any]) -> None:
        """All that the act took goes back, but for what came out of grants that are over, at once
        or when they repaid what it had left owing."""
        act = data["usage"]["event_id"]
        amount, shares = self.took.pop(act)
        repaid = [part for debt in self.owed if debt.act == act for part in debt.by.items()]
        over = sum(
            part
            for grant, part in (*shares.items(), *repaid)
            if grant in self.ends and self.ends[grant] <= entry.at
        )
        if data["amount"] != amount - over:
            self._say(entry, f"gave {data['amount']} back, recomputed {amount - over}")

    def _cost(self, usage: dict[str, Any], occurred: datetime) -> Fraction:
        book = self.journal.price_book(occurred)
        [entry] = [one for one in _named(book["entries"]) if one["model"] == usage["llm_model"]]
        price = (entry.get("input", 0), entry.get("cached_input", 0), entry.get("output", 0))
        return cost_of(usage.get("tokens", {}), price, book["markup_bps"])

    def _say(self, entry: Entry, words: str) -> None:
        self.wrong.append(f"{self.workspace} position {entry.position} {entry.kind}: {words}")


def _named(entries: Iterable[Any]) -> list[dict[str, Any]]:
    return [dict(one) for one in entries]
