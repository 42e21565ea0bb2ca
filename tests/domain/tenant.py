"""One workspace and everything that can be asked of its spending, on the shipped catalogues.

Stories read better when what they ask for is short: the clock is the tenant's, and every act
answers with the facts that it left. Amounts in µ.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

import adapters.catalogues
from domain.account.budget import On
from domain.account.charge import Charge
from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited
from domain.account.hold_facts import BillingSource, HoldPlaced, Labels, Release
from domain.account.usage import Tokens, Usage
from domain.account.usage_facts import Debited, UsageRecorded
from domain.catalogue.catalogue import Catalogue, read_catalogue
from domain.commands import Done
from domain.contract.plan_changing import Confirmed, Quoted
from domain.contract.subscribing import price_of
from domain.contract.subscription import Subscription, subscription_stream
from domain.facts import Context, Fact
from domain.identity import account_id, usage_id
from domain.ledger import Ledger
from domain.workspace.workspace import Workspace, workspace_stream
from tests.domain.contract.scripted_contracts import SUB, Scripted
from tests.domain.given import LONG_AGO, NOW, chat, entries
from tests.domain.memory import MemoryBook, run

WORKSPACE = "acme"
ACCOUNT = account_id(WORKSPACE)
FOLDER = Path(adapters.catalogues.__file__).parent


@cache
def shipped(name: str) -> Any:
    """A catalogue of Appendix A, as parsed."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def catalogue(name: str, **changes: Any) -> Catalogue:
    """A catalogue of Appendix A, with some of its parts changed."""
    return read_catalogue(shipped(name) | changes)


class Tenant:
    """A workspace on a plan, with some money, at the tenant's own time."""

    def __init__(
        self,
        sells: str | Catalogue,
        plan: str | None = None,
        micros: int = 0,
        *,
        now: datetime = NOW,
        markup_bps: int = 0,
        **changes: Any,
    ) -> None:
        self.now = now
        self.book = MemoryBook()
        self.ledger = Ledger(self.book)
        self.catalogue = sells if isinstance(sells, Catalogue) else catalogue(sells, **changes)
        self._ids = 0
        self.stripe = Scripted()
        run(self.ledger.publish_catalogue(self.catalogue, "v1", Context(LONG_AGO)))
        priced = (LONG_AGO, "usd", markup_bps, entries(), "v1", Context(LONG_AGO))
        run(self.ledger.publish_prices(*priced))
        run(self.ledger.create_workspace(WORKSPACE, "Acme", "owner", "UTC", self.context))
        if plan is not None:
            self.plan(plan)
        if micros:
            self.credit(micros)

    @property
    def context(self) -> Context:
        """Who asks, and when."""
        return Context(self.now, actor="service:test")

    @property
    def account(self) -> CreditAccount:
        """As committed."""
        account = self.book.states[ACCOUNT]
        assert isinstance(account, CreditAccount)
        return account

    @property
    def subscription(self) -> Subscription:
        """As committed."""
        subscription = self.book.states[subscription_stream(WORKSPACE)]
        assert isinstance(subscription, Subscription)
        return subscription

    @property
    def workspace(self) -> Workspace:
        """As committed."""
        workspace = self.book.states[workspace_stream(WORKSPACE)]
        assert isinstance(workspace, Workspace)
        return workspace

    @property
    def accrued(self) -> tuple[int, int]:
        """Units and µ of overage in the cycle that runs."""
        return next(iter(self.account.overage.values()), (0, 0))

    def remaining(self, bucket: str | None = None) -> int:
        """Included units that are left."""
        buckets = self.account.buckets
        return buckets[bucket or next(iter(buckets))].remaining

    def facts(self, *kinds: type[Fact]) -> list[Any]:
        """Everything that happened, of these kinds."""
        return [e.fact for e in self.book.events if not kinds or isinstance(e.fact, kinds)]

    def new_id(self) -> str:
        """An id that nobody used yet."""
        self._ids += 1
        return f"id{self._ids}"

    # Time.

    def to(self, moment: datetime) -> None:
        """Move the clock."""
        self.now = moment

    def later(self, **by: float) -> None:
        """Move the clock on."""
        self.now += timedelta(**by)

    # What services ask.

    def use(self, usage: Usage) -> Charge:
        """Report a metered act."""
        return run(self.ledger.charge(WORKSPACE, usage, self.context))

    def act(
        self, meter: str, input: int = 0, output: int = 0, model: str = "gpt-5.4-mini", **more: Any
    ) -> Debited | UsageRecorded:
        """Report a metered act and return its fact."""
        self.use(chat(self.new_id(), model, input, output, meter=meter, **more))
        fact = self.facts(Debited, UsageRecorded)[-1]
        assert isinstance(fact, Debited | UsageRecorded)
        return fact

    def generate(self, credits: int, **more: Any) -> Debited | UsageRecorded:
        """Report a generation of FlareX that comes to this many credits."""
        return self.act("chat_generation", credits * 1_000, **({"action": "proposal"} | more))

    def hold(
        self,
        meter: str,
        input: int = 0,
        output: int = 0,
        model: str = "gpt-5.4-mini",
        *,
        source: BillingSource | None = None,
        minutes: float = 15,
        **labels: str,
    ) -> HoldPlaced:
        """Ask for a hold and return its fact."""
        asked = self.ledger.authorize(
            WORKSPACE,
            f"hold_{self.new_id()}",
            meter,
            Tokens(input, 0, output),
            Labels(llm_model=model, **labels),
            self.context,
            source=source,
            ttl=timedelta(minutes=minutes),
        )
        facts = [recorded.fact for recorded in run(asked).facts]
        return next(fact for fact in facts if isinstance(fact, HoldPlaced))

    def settle(
        self, hold: HoldPlaced, input: int = 0, output: int = 0, **more: Any
    ) -> Debited | UsageRecorded:
        """Report what a call that was held for really used."""
        model = hold.request.llm_model or ""
        return self.act(hold.meter, input, output, model, hold_id=hold.hold_id, **more)

    def release(self, hold: HoldPlaced, reason: Release = "upstream_failed") -> Done:
        """End a hold without a charge."""
        return self.ask(self.ledger.release_hold, hold.hold_id, reason)

    def extend(self, hold: HoldPlaced, **by: float) -> Done:
        """Let a hold stand longer."""
        return self.ask(self.ledger.extend_hold, hold.hold_id, timedelta(**by))

    def void(self, act: Debited | UsageRecorded) -> Done:
        """Take an act back."""
        event = next(e for e in self.book.events if e.fact is act)
        return self.ask(self.ledger.void, usage_id(event.originator_id, event.originator_version))

    # What customers and administrators ask.

    def ask(self, use_case: Any, *arguments: Any) -> Done:
        """Any use case, for this workspace, now."""
        done = run(use_case(WORKSPACE, *arguments, self.context))
        assert isinstance(done, Done)
        return done

    def credit(self, micros: int) -> Credited:
        """Record a payment."""
        ref = self.new_id()
        run(self.ledger.record_payment(WORKSPACE, micros, ref, self.context))
        fact = self.facts(Credited)[-1]
        assert isinstance(fact, Credited)
        return fact

    def plan(self, plan: str) -> Done:
        """Put another plan in force."""
        return self.ask(self.ledger.set_plan, plan)

    def overage(self, enabled: bool) -> Done:
        """Agree to overage, or not any more."""
        return self.ask(self.ledger.set_overage, enabled)

    def overflow(self, enabled: bool) -> Done:
        """Let compilation past the quota cost money, or not."""
        return self.ask(self.ledger.set_overflow, enabled)

    def fallback(self, enabled: bool) -> Done:
        """Let the wallet pay for what the user's own account rejects, or not."""
        return self.ask(self.ledger.set_api_fallback, enabled)

    def link(self) -> Done:
        """The user's own OpenAI account is linked."""
        return self.ask(self.ledger.connect_oauth, "openai", "connection_1")

    def unlink(self, reason: Literal["user", "revoked"] = "user") -> Done:
        """The link ends."""
        return self.ask(self.ledger.disconnect_oauth, "openai", reason)

    def freeze(self) -> Done:
        """An administrator freezes the account."""
        return self.ask(self.ledger.freeze, "admin", "t-1", None)

    def unfreeze(self) -> Done:
        """All reasons are lifted."""
        return self.ask(self.ledger.unfreeze, None, "t-1", None)

    def budget(
        self,
        limit: int,
        on: On = "workspace",
        value: str | None = None,
        per: Literal["day", "cycle"] = "cycle",
        *,
        hard: bool = True,
        id: str = "b1",
    ) -> Done:
        """Cap the spending."""
        return self.ask(self.ledger.set_budget, id, on, value, limit, per, hard)

    # What a customer does with a card, and what Stripe says.

    def subscribe(self, plan: str) -> None:
        """A page for a plan was paid."""
        plans = run(self.ledger.plans())
        price = price_of(plans.find(plan, WORKSPACE), plans)
        remote = self.stripe.start(WORKSPACE, price, self.now)
        assert run(self.ledger.activate(remote, price.amount, self.context)) == "applied"

    def preview(self, plan: str, *keep: str) -> Quoted:
        """Quote a change of plan."""
        id = self.new_id()
        asked = self.ledger.preview_plan(self.stripe, WORKSPACE, plan, keep, id, self.context)
        return run(asked)

    def confirm(self, quoted: Quoted) -> Confirmed:
        """Do what was quoted."""
        id = quoted.quote.preview_id
        return run(self.ledger.confirm_plan(self.stripe, WORKSPACE, id, self.context))

    def sync(self) -> None:
        """Stripe says that something about the subscription is different."""
        run(self.ledger.sync_subscription(self.stripe, SUB, self.context))

    def cancel(self) -> datetime:
        """End the subscription with its period."""
        return run(self.ledger.cancel(self.stripe, WORKSPACE, self.context))

    def bill(self) -> list[str]:
        """Put overage on invoices; the cycles that are billed now."""
        return run(self.ledger.bill_overage(self.stripe, WORKSPACE, self.context))

    def roll_over(self) -> Done:
        """What a timer asks."""
        return self.ask(self.ledger.roll_over)


def drawn(act: Debited | UsageRecorded) -> dict[str, tuple[int, int]]:
    """Who paid for an act: (units, µ) by source."""
    return {draw.source: (draw.units, draw.amount) for draw in act.draws}


def subscriber(plan: str = "starter", **changes: Any) -> Tenant:
    """A tenant of `flarex` that subscribed with a card at the clock's start: its cycle is June."""
    made = Tenant("flarex", **changes)
    made.subscribe(plan)
    return made
