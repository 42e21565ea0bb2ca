"""The verdict on a year: what was charged, mirrored and shown, against what had to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.acceptance.year.bots import paused_wrongly
from tests.acceptance.year.contract import Contract, Due
from tests.acceptance.year.documents import Document, at_stripe, mirrored, shown
from tests.acceptance.year.journal import Journal, moment, read
from tests.acceptance.year.town import Town
from tests.acceptance.year.wallet import Wallet

A_SECOND = timedelta(seconds=1)
LONG_S = 120


@dataclass
class Verdict:
    """Everything that is wrong after a year, in words; and how much there was to be right."""

    wrong: list[str]
    counts: dict[str, int]

    def __str__(self) -> str:
        counted = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        return f"{counted}: {len(self.wrong)} wrong"


def verdict(town: Town) -> Verdict:
    """Judge a town that is at rest."""
    app = town.shop.app
    journal = read(app.database)
    wrong = of_events(journal)
    for workspace in journal.workspaces:
        mirror = mirrored(journal, workspace)
        wrong += same(workspace, "Stripe", mirror, at_stripe(town.books, workspace))
        wrong += same(workspace, "the list", mirror, shown_of(app, workspace, mirror))
        wrong += Wallet(journal, workspace).fold().against(town)
    compared = app.call("GET", "/v1/audit/compare").json()
    wrong += [f"compare: {one}" for one in compared["differences"]]
    kinds = Counter(entry.kind for entry in journal.entries)
    counts = {
        "events": len(journal.entries),
        "metered acts": sum(bool(entry.data.get("usage")) for entry in journal.entries),
        "cycles closed": kinds["CycleClosed"],
        "invoices": len(town.books.find("invoice")),
        "webhooks delivered": town.post.carried,
        "lost": town.post.lost,
        "things repaired by the reconciler": town.acts["repaired"],
        "kill -9 of the worker": town.kills["worker"],
        "of the poster": town.kills["poster"],
    }
    return Verdict(wrong, counts)


def of_events(journal: Journal) -> list[str]:
    """What the events alone show to be wrong."""
    wrong: list[str] = []
    for workspace in journal.workspaces:
        contract = Contract(journal, workspace).fold()
        wrong += contract.wrong
        wrong += billed(contract, mirrored(journal, workspace))
        wrong += paused_wrongly(journal, workspace)
        wrong += graces(journal, workspace)
        wrong += Wallet(journal, workspace).fold().wrong
    return wrong


def billed(contract: Contract, mirror: dict[str, Document]) -> list[str]:
    """Every invoice that is due is there once and for the right sum, and no other is."""
    wrong: list[str] = []
    where = contract.workspace
    places = {(due.subscription, due.reason) for due in contract.dues}
    of_contract = [one for one in mirror.values() if one.subscription]
    places |= {(one.subscription, one.reason) for one in of_contract if one.status != "draft"}
    for subscription, reason in sorted(places):
        due = [d for d in contract.dues if (d.subscription, d.reason) == (subscription, reason)]
        there = [d for d in of_contract if (d.subscription, d.reason) == (subscription, reason)]
        if not due and _was_never_in_force(contract, subscription):
            continue
        due.sort(key=lambda one: (one.at, sorted(one.amounts)))
        there.sort(key=lambda one: (one.at, sorted(one.of_contract)))
        if len(due) != len(there):
            wrong.append(
                f"{where} {subscription} {reason}: due {_said(due)}, there are {_told(there)}"
            )
            continue
        for ours, theirs in zip(due, there, strict=True):
            if theirs.status != "draft" and sorted(ours.amounts) != sorted(theirs.of_contract):
                wrong.append(
                    f"{where} {theirs.id} {reason}: due {_said([ours])}, {_told([theirs])}"
                )
    return wrong + overage(contract, mirror)


def overage(contract: Contract, mirror: dict[str, Document]) -> list[str]:
    """Every statement's lines stand on invoices, each once, to the cent."""
    wrong: list[str] = []
    there: dict[str, list[tuple[str, int, int]]] = {}
    for document in mirror.values():
        for line in document.lines:
            if line.kind == "overage" and line.amount:
                found = there.setdefault(line.cycle or "", [])
                found.append((line.bot or "", line.units or 0, line.amount))
        if document.status != "draft" and sum(x.amount for x in document.lines) != document.total:
            wrong.append(f"{contract.workspace} {document.id}: its lines are not its total")
    for cycle in sorted(contract.statements.keys() | there.keys()):
        due = [(x.bot, x.units, x.cents) for x in contract.statements.get(cycle, ()) if x.cents]
        where, amount = contract.invoiced.get(cycle, ("", 0))
        if where in mirror and mirror[where].status == "draft" and cycle not in there:
            # Stripe leaves the drafts of an unpaid subscription alone; lines come with the end.
            there[cycle] = due if sum(cents for *_, cents in due) == amount else []
        if sorted(due) != sorted(there.get(cycle, ())):
            wrong.append(
                f"{contract.workspace} overage of {cycle}: due {sorted(due)},"
                f" billed {sorted(there.get(cycle, ()))}"
            )
    return wrong


def same(
    workspace: str, book: str, ours: dict[str, Document], theirs: dict[str, Document]
) -> list[str]:
    """Two books hold the same invoices. One that was never for anything in force may lack here."""
    wrong = []
    for id in sorted(ours.keys() | theirs.keys()):
        if id not in theirs:
            wrong.append(f"{workspace} {id}: unknown to {book}")
        elif id not in ours:
            if theirs[id].reason != "subscription_create" or theirs[id].status == "paid":
                wrong.append(f"{workspace} {id} of {book}: unknown to us ({_told([theirs[id]])})")
        elif difference := ours[id].differs(theirs[id]):
            wrong.append(f"{workspace} {id}: ours / of {book}: {difference}")
    return wrong


def shown_of(app: Any, workspace: str, mirror: dict[str, Document]) -> dict[str, Document]:
    """What customers are shown; the list does not name subscriptions."""
    found = shown(app, workspace)
    for id, document in found.items():
        if id in mirror:
            document.subscription = mirror[id].subscription
    return found


def graces(journal: Journal, workspace: str) -> list[str]:
    """The grace runs from the first failure of the oldest unpaid invoice, for the plan's days."""
    wrong: list[str] = []
    failed: dict[str, datetime] = {}
    days, plan = 0, ("", 0)
    for entry in journal.by_workspace[workspace]:
        data = entry.data
        if entry.kind == "PlanChanged":
            plan = (data["to_plan"], data["to_version"])
        elif entry.kind == "SubscriptionStarted":
            if data.get("stripe_subscription_id"):  # else what failed is the one's before it
                plan, failed = (data["plan_id"], data["plan_version"]), {}
        elif entry.kind == "SubscriptionPastDue":
            days = days if failed else int(journal.plans[plan].get("grace_days", 0))
            failed[data["invoice_id"]] = moment(data["first_failed_at"])
        elif entry.kind == "DunningMoved":
            failed.pop(data["invoice_id"], None)
            if data["reason"] == "earlier_failure_learned":
                failed[data["invoice_id"]] = moment(data["first_failed_at"])
        elif entry.kind == "SubscriptionRecovered":
            failed = {}
            continue
        if entry.kind in ("SubscriptionPastDue", "DunningMoved"):
            due = min(failed.values()) + timedelta(days=days)
            if moment(data["grace_ends_at"]) > due or (
                entry.kind == "DunningMoved" and moment(data["grace_ends_at"]) != due
            ):
                wrong.append(
                    f"{workspace} position {entry.position}: grace ends {due}, said {data}"
                )
    return wrong


def _was_never_in_force(contract: Contract, subscription: str) -> bool:
    return not any(due.subscription == subscription for due in contract.dues)


def _said(dues: Sequence[Due]) -> str:
    return str([(f"{due.at:%Y-%m-%dT%H:%M:%S}", due.amounts) for due in dues])


def _told(documents: Sequence[Document]) -> str:
    return str(
        [
            (one.id, f"{one.at:%Y-%m-%dT%H:%M:%S}", one.status, [line.amount for line in one.lines])
            for one in documents
        ]
    )
