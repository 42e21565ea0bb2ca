"""Issue 5: a simulated year at small size. At full size it is `scripts/year`."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import settle
from tests.acceptance.subscribing import at, change, spend, subscribed, subscription
from tests.acceptance.year.journal import Entry, Journal, moment, read
from tests.acceptance.year.mortal import mortal
from tests.acceptance.year.town import stamp
from tests.acceptance.year.verdict import A_SECOND, of_events, verdict
from tests.acceptance.year.year import Pace, live
from tests.api.sandboxed import sandboxed

WORKSPACES = int(os.environ.get("YEAR_WORKSPACES", "4"))
PACE = Pace(stride=140, busy=0.2)
DEADLY = Pace(stride=30, busy=0.6, kills=8, ends=datetime(2028, 2, 12, tzinfo=UTC))
SEED = int(os.environ.get("YEAR_SEED", "1"))


@pytest.mark.slow
@pytest.mark.parametrize("catalogue", ["flarex", "faces"])
def test_a_year_is_billed_to_the_cent(database: Database, catalogue: str) -> None:
    print(f"YEAR_SEED={SEED}")
    with sandboxed(database, catalogue, mode="held", strict=False) as shop:
        town = live(shop, catalogue, SEED, WORKSPACES, print, PACE)
        wrong = verdict(town).wrong
        lived = (len(town.books.find("invoice")), town.post.lost, town.acts["repaired"])

    assert wrong == []
    assert min(lived) > WORKSPACES, f"not much happened: {lived}"
    assert unnoticed(read(database)) == []


@pytest.mark.slow
def test_whoever_is_killed_meanwhile_bills_to_the_cent_too(database: Database) -> None:
    with mortal(database, "faces", Random(SEED)) as shop:
        town = live(shop, "faces", SEED, 3, print, DEADLY)
        wrong = verdict(town).wrong

    assert wrong == []
    assert sum(town.kills.values()) > 1, f"hardly anybody died: {town.kills}"


def test_a_plan_that_stripe_renewed_and_we_did_not_believe_in_is_judged_by_what_was_paid(
    database: Database,
) -> None:
    with sandboxed(database, "flarex", mode="held") as shop:
        workspace = subscribed(shop, "pro")
        change(shop, workspace, "starter")
        shop.sandbox.control.script({"path": "*", "fault": "drop_after", "times": 9})
        unheard = shop.app.call("DELETE", "/v1/billing/plan-change", workspace=workspace)
        shop.sandbox.control.script()
        shop.to("2026-07-01T00:00:00Z")
        spend(shop, workspace, 10)  # opens the cycle, on the plan that was believed in
        opened = subscription(shop, workspace)["plan"]
        settle(shop)
        at(shop, "2026-07-01T02:00:00Z")
        spend(shop, workspace, 4_000)
        at(shop, "2026-08-01T02:00:00Z")

    journal = read(database)
    assert (unheard.status_code, opened) == (503, "starter")
    assert of_events(journal) == []
    assert of_events(journal.altered(lambda entry: None if adopts(entry) else entry)) != []


def adopts(entry: Entry) -> bool:
    """Whether the plan that Stripe bills is taken over."""
    return str(entry.data.get("cause", "")).startswith("plan_at_stripe:")


# The control: whoever changes one thing in the books is found out.

Data = dict[str, Any]
Forgery = Callable[[Data], Data | None]


def unnoticed(journal: Journal) -> list[str]:
    """Which forgeries the recomputation does not see."""
    assert of_events(journal) == []
    missed = []
    for kind, forgery in FORGERIES:
        once = Once(kind, forgery)
        forged = journal.altered(once)
        if once.position and of_events(forged) == []:
            missed.append(f"{kind} at position {once.position}")
    return missed


class Once:
    """Forges the first entry of a kind that can be; None leaves it out."""

    def __init__(self, kind: str, forgery: Forgery) -> None:
        self._kind, self._forgery = kind, forgery
        self.position = 0

    def __call__(self, entry: Entry) -> Entry | None:
        if entry.kind != self._kind or self.position:
            return entry
        data = self._forgery(dict(entry.data))
        if data == entry.data:
            return entry
        self.position = entry.position
        return None if data is None else entry._replace(data=data)


def later(name: str) -> Forgery:
    """One second later."""
    return lambda data: data | {name: stamp(moment(data[name]) + A_SECOND)}


def more(name: str) -> Forgery:
    """One cent, µ or unit more."""
    return lambda data: data | {name: data.get(name, 0) + 1}


def quoted_more(data: Data) -> Data:
    """A quote of Stripe's, one cent dearer."""
    if data.get("proration_date") is None:
        return data
    first, *others = data["lines"]
    dearer = first | {"amount_minor": first["amount_minor"] + 1}
    return data | {"lines": [dearer, *others]}


def charged_more(data: Data) -> Data:
    """An upgrade that cost a cent more than was said."""
    if data["direction"] != "upgrade" or data.get("preview_id") is None:
        return data
    return data | {"charged": data.get("charged", 0) + 1}


def billed_more(data: Data) -> Data:
    """A statement with a unit too many."""
    if not data.get("overage"):
        return data
    first, *others = data["overage"]
    return data | {"overage": [first | {"units": first["units"] + 1}, *others]}


def used_more(data: Data) -> Data:
    """An act of a million tokens more than it was charged for."""
    usage = data.get("usage") or {}
    tokens = usage.get("tokens", {})
    if any(draw["source"] == "oauth" for draw in data.get("draws", ())):
        return data
    dearer = tokens | {"input": tokens.get("input", 0) + 1_000_000}
    return data | {"usage": usage | {"tokens": dearer}}


def held_more(data: Data) -> Data:
    """An authorisation that sets a credit too many aside."""
    return data | {"units": data["units"] + 1} if data["meter"] == "chat_generation" else data


def returned_more(data: Data) -> Data:
    """A mistake that gave back a credit more than it had taken."""
    if data["usage"]["meter"] != "chat_generation" or not data["draws"]:
        return data
    first, *others = data["draws"]
    return data | {"draws": [first | {"units": first.get("units", 0) + 1}, *others]}


def paused_by_plan(data: Data) -> Data:
    """A bot that the plan paused although nobody chose a smaller one."""
    return data | {"by": "plan_limit"}


FORGERIES: list[tuple[str, Forgery]] = [
    ("InvoiceLineRecorded", more("amount")),
    ("InvoiceFinalized", more("total")),
    ("InvoiceDrafted", lambda data: None),
    ("SubscriptionStarted", later("period_start")),
    ("CycleOpened", later("period_end")),
    ("CycleClosed", later("period_end")),
    ("CycleClosed", billed_more),
    ("PlanChangeQuoted", quoted_more),
    ("PlanChanged", charged_more),
    ("SubscriptionPastDue", later("grace_ends_at")),
    ("HoldPlaced", held_more),
    ("HoldReleased", lambda data: data | {"hold_id": "hold_of_nobody"}),
    ("UsageVoided", more("amount")),
    ("UsageVoided", returned_more),
    ("UsageRecorded", used_more),
    ("Debited", more("amount")),
    ("BotPaused", paused_by_plan),
]
