"""Notes that a plan which was quoted to one workspace was taken by it."""

from __future__ import annotations

from api.stripe.follower import REACTIONS
from api.stripe.till import Till
from domain.contract.subscription import PlanChanged, SubscriptionStarted
from domain.facts import Context, Recorded


async def note_taken(recorded: Recorded, _: int, till: Till, context: Context) -> None:
    """Whatever way the plan came into force. A no-op for plans that everybody can have."""
    match recorded.fact:
        case PlanChanged(to_plan=plan_id, to_version=version):
            pass
        case SubscriptionStarted(plan_id=plan_id, plan_version=version):
            pass
        case _:
            return
    if plan_id in (await till.plans()).custom:
        await till.ledger.note_plan_taken(plan_id, version, context)


for _kind in (PlanChanged, SubscriptionStarted):
    REACTIONS.setdefault(_kind, []).append(note_taken)
