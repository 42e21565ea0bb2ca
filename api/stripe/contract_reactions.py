"""What our own log asks of Stripe about the contract."""

from __future__ import annotations

from api.stripe.follower import REACTIONS, Reaction
from api.stripe.till import Till
from domain.commands import Stream
from domain.contract.facts import SubscriptionEnded
from domain.contract.subscription import CycleClosed, PlanChanged, Subscription, SubscriptionStarted
from domain.facts import Context, Fact, Recorded


async def bill_overage(recorded: Recorded, position: int, till: Till, context: Context) -> None:
    """A cycle closed: its overage goes onto an invoice, now or when Stripe drafts the renewal."""
    found = await till.ledger.book.fresh(Stream(Subscription, recorded.originator_id))
    assert isinstance(found, Subscription)
    if found.unbilled:
        await till.ledger.bill_overage(till.contracts, found.workspace_id, context)


async def note_taken(recorded: Recorded, position: int, till: Till, context: Context) -> None:
    """A plan came into force: if it was quoted to this workspace, the quote was accepted."""
    fact = recorded.fact
    if isinstance(fact, SubscriptionStarted):
        await till.ledger.note_plan_taken(fact.plan_id, fact.plan_version, context)
    elif isinstance(fact, PlanChanged):
        await till.ledger.note_plan_taken(fact.to_plan, fact.to_version, context)


REACTING: dict[type[Fact], Reaction] = {
    CycleClosed: bill_overage,
    SubscriptionEnded: bill_overage,
    PlanChanged: note_taken,
    SubscriptionStarted: note_taken,
}

for _kind, _reaction in REACTING.items():
    REACTIONS.setdefault(_kind, []).append(_reaction)
