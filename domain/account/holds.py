"""Decisions before a call runs: authorise, extend, release; and what time does by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from domain.account.allowance_facts import (
    AllowanceClosed,
    AllowanceGranted,
    ApiFallbackSet,
    CompileOverflowDisabled,
    CompileOverflowEnabled,
)
from domain.account.ask import Ask
from domain.account.bucket import DAYS
from domain.account.budget import BudgetRemoved, BudgetSet, BudgetWarned, On, window_of
from domain.account.credit_facts import SpendPolicySet
from domain.account.credits import MoneyAccount
from domain.account.funding import admit, share
from domain.account.hold_facts import (
    ONLY,
    BillingSource,
    Hold,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    Labels,
    Release,
    Route,
)
from domain.account.usage import Tokens
from domain.catalogue.catalogue import Catalogue, Meter
from domain.catalogue.price_book import PriceBook, exact_cost
from domain.errors import (
    HoldClosed,
    InvalidInput,
    NotFound,
    UnknownAction,
    UnknownMeter,
)
from domain.facts import Context

HOLDS_MAX = 1_000
"""Holds of one account that may stand at once; more are leaks, not traffic."""
WINDOWS_AT_ONCE = 100
"""Windows of days that may be caught up in one save, of those that late usage may be of."""


class HoldingAccount(MoneyAccount, omit_defaults=True, gc=False):
    """An account that sets money and units aside for calls under way."""

    def authorize(
        self,
        hold_id: str,
        meter_name: str,
        estimate: Tokens,
        labels: Labels,
        source: BillingSource | None,
        ttl: timedelta,
        catalogue: Catalogue,
        book: PriceBook,
        context: Context,
    ) -> None:
        """Let a call run, and set aside what it is expected to cost: records a `HoldPlaced`.

        ``estimate`` holds the input and the largest output in tokens. The hold is never more
        than what is there: `min(estimate, available)`. A ``source`` that is asked for is the
        only one that may pay, now and when the hold is settled.

        :raises PaymentRequired: no source admits the call; nothing is recorded.
        :raises OAuthRejected: the user's own account was revoked and falling back is off.
        """
        meter = catalogue.meters.get(meter_name)
        if meter is None:
            raise UnknownMeter(("meter",), f"the catalogue has no meter {meter_name}")
        if self.policy is None:
            raise NotFound("workspace", self.workspace_id)
        self.tidy(self.policy, catalogue, context)
        now = self.moment(context)
        policy, only = self.policy, ONLY[source]
        ask = Ask(self, meter_name, meter, policy, catalogue, now, now, labels, only=only)
        if self.freezes:
            raise ask.frozen()
        if len(self.holds) >= HOLDS_MAX:
            raise InvalidInput(("hold_id",), f"{HOLDS_MAX} holds stand already; settle some")
        route, wanted, held_units = _set_aside(ask, estimate, book)
        amount = min(wanted, max(ask.available, 0))
        price = ask.overage_price()
        beyond = meter.units(estimate.input, estimate.output) - held_units
        self.record(
            HoldPlaced(
                **self.stamp(context, f"hold:{hold_id}"),
                hold_id=hold_id,
                meter=meter_name,
                route=route,
                amount=amount,
                units=held_units,
                estimate=estimate,
                expires_at=now + ttl,
                policy_version=policy.policy_version,
                bucket=meter.bucket,
                overage_on=price is not None,
                overage=beyond * price if price is not None and route != "oauth" else 0,
                short=wanted - amount,
                unit_price=price,
                request=labels,
                source=source,
            )
        )
        if self.auto_topup is not None:  # credits may have expired just now
            self.consider_topup(context)

    def extend_hold(self, hold_id: str, ttl: timedelta, context: Context) -> None:
        """Let a hold stand longer while tokens flow. Once a hold and moment.

        :raises HoldClosed: it was settled, released or has expired.
        """
        hold = self.open_hold(hold_id, context)
        self.expire_first(context)
        expires_at = max(self.moment(context) + ttl, hold.expires_at)
        self.record(
            HoldExtended(
                **self.stamp(context, f"hold_extended:{hold_id}:{self.version + 1}"),
                hold_id=hold_id,
                expires_at=expires_at,
                amount=hold.amount,
                units=hold.units,
            )
        )

    def release_hold(self, hold_id: str, reason: Release, context: Context) -> None:
        """End a hold without a charge.

        :raises HoldClosed: it was settled, released or has expired.
        """
        self.open_hold(hold_id, context)
        self.expire_first(context)
        self.record(
            HoldReleased(
                **self.stamp(context, f"hold_end:{hold_id}"), hold_id=hold_id, reason=reason
            )
        )

    def open_hold(self, hold_id: str, context: Context) -> Hold:
        """A hold that stands now."""
        hold = self.holds.get(hold_id)
        if hold is None or hold.expires_at <= self.moment(context):
            raise HoldClosed(f"{hold_id} was settled, released or has expired")
        return hold

    # What time does by itself, noticed by the first decision afterwards.

    def tidy(self, policy: SpendPolicySet, catalogue: Catalogue, context: Context) -> None:
        """Expire grants and holds whose time is over, and open the next window of days."""
        now = self.moment(context)
        if self.wallet.next_expiry is not None and self.wallet.next_expiry <= now:
            self.expire_credits(context)
        if self.next_hold_expiry is not None and self.next_hold_expiry <= now:
            self.expire_holds(context)
        self.renew_windows(policy, catalogue, context)

    def renew_windows(self, policy: SpendPolicySet, catalogue: Catalogue, context: Context) -> None:
        """Open the windows of days that run now."""
        for name, bucket in self.buckets.items():
            if bucket.reset.startswith(DAYS):
                self._renew(name, policy, catalogue, context)

    def expire_holds(self, context: Context) -> None:
        """End the holds that nobody settled in time."""
        now = self.moment(context)
        for hold in tuple(self.holds.values()):
            if hold.expires_at <= now:
                self.record(
                    HoldExpired(
                        **self.stamp(context, f"hold_end:{hold.hold_id}"),
                        hold_id=hold.hold_id,
                        expired_at=hold.expires_at,
                    )
                )

    def _renew(
        self, name: str, policy: SpendPolicySet, catalogue: Catalogue, context: Context
    ) -> None:
        """Close the window of days that is over, and open the next. Of those that nobody looked
        at in between, each has its own units for what may still be reported of it."""
        bucket = self.buckets[name]
        last, length = bucket.start_at(self.moment(context)), bucket.window
        if last is None or length is None or bucket.since is None or last == bucket.since:
            return
        days = catalogue.max_backdate_days
        oldest = self.moment(context) - min(timedelta(days=days), WINDOWS_AT_ONCE * length)
        since = bucket.since
        while since < last:
            self._close_window(name, since, since + length, days, context)
            since += length
            if since < last and since + length <= oldest:
                since += (oldest - since) // length * length
            stamp = self.stamp(context, f"allowance:{name}:{since.isoformat()}:{self.version + 1}")
            self.record(
                AllowanceGranted(
                    **stamp,
                    bucket=name,
                    units=bucket.granted,
                    cycle_id=f"{policy.subscription_id}:{name}:{since.isoformat()}",
                    reset=bucket.reset,
                    why="cycle",
                    since=since,
                )
            )

    def _close_window(
        self, name: str, start: datetime, end: datetime, keep_days: int, context: Context
    ) -> None:
        over = self.buckets[name]
        self.record(
            AllowanceClosed(
                **self.stamp(context, f"allowance_closed:{name}:{self.version + 1}"),
                bucket=name,
                cycle_id=over.cycle_id,
                granted=over.granted,
                used=over.used,
                unused=max(over.granted - over.used, 0),
                period_start=start,
                period_end=end,
                keep_days=keep_days,
            )
        )

    # What the customer may switch.

    def set_overflow(self, enabled: bool, by: str, context: Context) -> None:
        """Let compilation past the quota be paid from the wallet, or not; a no-op if it is so."""
        if enabled == self.overflow:
            return
        kind = CompileOverflowEnabled if enabled else CompileOverflowDisabled
        self.record(kind(**self.stamp(context, f"overflow:{self.version + 1}"), by=by))

    def set_api_fallback(self, enabled: bool, context: Context) -> None:
        """Let calls that the user's own account rejects be paid from the wallet, or not."""
        if enabled != self.api_fallback:
            stamp = self.stamp(context, f"api_fallback:{self.version + 1}")
            self.record(ApiFallbackSet(**stamp, enabled=enabled))

    def set_budget(
        self,
        budget_id: str,
        on: On,
        value: str | None,
        limit: int,
        per: Literal["day", "cycle"],
        hard: bool,
        context: Context,
    ) -> None:
        """Put a cap in force, or change it."""
        if (value is None) != (on == "workspace"):
            raise InvalidInput(("value",), "names the key, face, bot or thread that is capped")
        if len(self.budgets) >= 100 and budget_id not in self.budgets:
            raise InvalidInput(("budget_id",), "a workspace has at most 100 budgets")
        self.record(
            BudgetSet(
                **self.stamp(context, f"budget:{budget_id}:{self.version + 1}"),
                budget_id=budget_id,
                on=on,
                value=value,
                limit=limit,
                per=per,
                hard=hard,
            )
        )

    def remove_budget(self, budget_id: str, context: Context) -> None:
        """Lift a cap.

        :raises NotFound: there is none of this id.
        """
        if budget_id not in self.budgets:
            raise NotFound("budget", budget_id)
        stamp = self.stamp(context, f"budget:{budget_id}:{self.version + 1}")
        self.record(BudgetRemoved(**stamp, budget_id=budget_id))

    def warn_of_budgets(self, context: Context) -> None:
        """Say once a window that spending passed a cap."""
        cycle_id = self.policy.cycle_id if self.policy else ""
        for budget in self.budgets.values():
            window = window_of(budget, self.moment(context), cycle_id)
            before = budget.warned == window
            if not before and budget.spent_in(window) >= budget.limit:
                self.record(
                    BudgetWarned(
                        **self.stamp(
                            context, f"budget_warned:{budget.budget_id}:{self.version + 1}"
                        ),
                        budget_id=budget.budget_id,
                        window=window,
                        spent=budget.spent,
                        limit=budget.limit,
                        hard=budget.hard,
                    )
                )


def _set_aside(ask: Ask, estimate: Tokens, book: PriceBook) -> tuple[Route, int, int]:
    """(route, µ that the wallet may have to pay, units) of the hold for a call of this size."""
    labels = ask.labels
    total, exact = 0, (0, 1)
    if ask.meter.rate is not None:
        rated = book.rate(labels.llm_model, labels.provider, estimate, ask.now)
        total, exact = rated.total, exact_cost(estimate, rated.price)
    units = ask.meter.units(estimate.input, estimate.output)
    source = admit(ask, units, exact, ask.oauth() == "active")
    if source == "oauth":
        return "oauth", 0, 0
    if source == "overage":
        return "overage", 0, 0
    if source == "wallet":
        return "wallet", total, 0
    held = min(units, ask.remaining())
    rest = units - held
    if rest and ask.wallet_allowed and ask.available > 0:
        return "allowance", share(exact, rest, units), held
    return "allowance", 0, held


def is_metered(action: str | None, name: str, meter: Meter) -> bool:
    """Whether the meter counts this action.

    :raises UnknownAction: it knows neither to count nor to ignore it.
    """
    if not meter.billable_actions or action in meter.billable_actions:
        return True
    if action in meter.non_metered_actions:
        return False
    known = ", ".join((*meter.billable_actions, *meter.non_metered_actions))
    raise UnknownAction(("action",), f"{name} knows the actions {known}")
