"""How an account stands at this moment, whether or not anybody recorded what time did to it."""

from __future__ import annotations

from typing import NamedTuple

from api.call import Call
from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import Meter, Plan, PlanCatalogue
from domain.commands import Stream
from domain.contract.cycle_close import roll_over
from domain.contract.policy import plan_of
from domain.contract.subscription import Subscription, subscription_stream
from domain.errors import NotFound
from domain.facts import Context
from domain.workspace.workspace import Workspace


class Standing(NamedTuple):
    """A workspace with its contract and account in the cycle that runs now. Folded in memory:
    reading records nothing."""

    account: CreditAccount
    subscription: Subscription
    plans: PlanCatalogue
    context: Context
    workspace: Workspace
    recorded: int
    """µ of balance as the events say, before what time did since."""

    @property
    def plan(self) -> Plan:
        """The plan version that the subscription pinned."""
        return plan_of(self.subscription, self.plans)

    def meters_of(self, bucket: str) -> dict[str, Meter]:
        """The meters that draw from a bucket."""
        meters = self.plans.current.meters
        return {name: meter for name, meter in meters.items() if meter.bucket == bucket}


async def standing(call: Call) -> Standing:
    """Fold what is due (a cycle's end, expired holds and grants) into copies of the state.

    :raises NotFound: there is no such workspace.
    """
    ledger = call.house.ledger
    context = await call.context()
    recorded = await ledger.account(call.workspace_id)
    account = recorded.clone()
    found = await ledger.book.fresh(Stream(Subscription, subscription_stream(call.workspace_id)))
    assert isinstance(found, Subscription)
    subscription = found.clone()
    workspace = (await ledger.workspace(call.workspace_id)).clone()
    plans = await ledger.plans()
    roll_over(account, subscription, workspace, plans, "inline", context)
    if account.policy is None:
        raise NotFound("workspace", call.workspace_id)
    account.tidy(account.policy, plans.current, context)
    return Standing(account, subscription, plans, context, workspace, recorded.balance)
