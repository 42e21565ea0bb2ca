"""One workspace's credit account: everything that can be spent, and the permission to spend it.

Facts are in `domain/account_facts.py`, the funding waterfall in `domain/funding.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from domain.account_facts import (
    AccountFrozen,
    AccountUnfrozen,
    AllowanceGranted,
    Bucket,
    CreditAccountOpened,
    Credited,
    CreditsExpired,
    CreditSource,
    CreditsReinstated,
    CreditsReversed,
    Debited,
    Draw,
    FreezeReason,
    SpendPolicySet,
    UsageRated,
    UsageRecorded,
    UsageVoided,
)
from domain.catalogue import Catalogue, Meter
from domain.errors import (
    AlreadyVoided,
    InvalidInput,
    NotFound,
    NotReversible,
    OccurredAtOutOfRange,
    UnknownAction,
    UnknownMeter,
    UnknownModel,
)
from domain.facts import Aggregate, Context, Fact
from domain.funding import Ask, fund
from domain.money import BALANCE_LIMIT
from domain.price_book import PriceBook, PriceBookVersion, Rated, exact_cost
from domain.usage import Usage
from domain.wallet import Category, Grant, Wallet

FUTURE = timedelta(minutes=5)
"""How far ahead of ours a service's clock may be."""


class CreditAccount(Aggregate, omit_defaults=True, gc=False):
    """Money and units of one workspace. Decisions refuse or record; they never set a balance."""

    category: ClassVar[str] = "credit_account"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        CreditAccountOpened,
        SpendPolicySet,
        Credited,
        Debited,
        UsageRecorded,
        UsageRated,
        UsageVoided,
        CreditsExpired,
        CreditsReversed,
        CreditsReinstated,
        AccountFrozen,
        AccountUnfrozen,
        AllowanceGranted,
    )

    workspace_id: str = ""
    currency: str = ""
    wallet: Wallet = Wallet()
    freezes: tuple[tuple[FreezeReason, str], ...] = ()
    policy: SpendPolicySet | None = None
    buckets: dict[str, Bucket] = {}
    overage: dict[str, tuple[int, int]] = {}  # bucket -> units, µ of this cycle
    reversed: dict[str, int] = {}  # payment -> µ; only payments that were reversed
    overflow: bool = False

    # What the state answers.

    @property
    def balance(self) -> int:
        """µ; negative is debt."""
        return self.wallet.balance

    @property
    def available(self) -> int:
        """µ that a call could spend now."""
        return self.wallet.balance

    @property
    def is_frozen(self) -> bool:
        """Whether any reason to be frozen stands."""
        return bool(self.freezes)

    @property
    def plan(self) -> str:
        """The plan in force, or "" before the first policy."""
        return self.policy.plan_id if self.policy else ""

    # How facts move quantities; used by their `apply` only.

    def take(self, draw: Draw) -> None:
        """Move units that a draw says out of their source."""
        if draw.source == "allowance":
            self._use(draw.bucket, draw.units)
        elif draw.source == "overage":
            self._accrue(draw.bucket, draw.units, draw.amount)

    def give_back(self, draw: Draw, cycle_id: str | None) -> None:
        """Undo the units of a draw while its cycle is still open (money returns as grants)."""
        bucket = self.buckets.get(draw.bucket or "")
        if bucket is None or bucket.cycle_id != cycle_id:
            return
        if draw.source == "allowance":
            self._use(draw.bucket, -draw.units)
        elif draw.source == "overage":
            self._accrue(draw.bucket, -draw.units, -draw.amount)

    def note_reversed(self, payment: str, amount: int) -> None:
        """Remember how much of a payment was taken back."""
        self.reversed = {**self.reversed, payment: self.reversed.get(payment, 0) + amount}

    def _use(self, name: str | None, units: int) -> None:
        assert name is not None
        bucket = self.buckets[name]
        used = max(bucket.used + units, 0)
        bucket = Bucket(bucket.granted, used, bucket.cycle_id, bucket.reset)
        self.buckets = {**self.buckets, name: bucket}

    def _accrue(self, name: str | None, units: int, amount: int) -> None:
        assert name is not None
        before = self.overage.get(name, (0, 0))
        self.overage = {**self.overage, name: (before[0] + units, before[1] + amount)}

    # Decisions about usage.

    def charge(self, usage: Usage, catalogue: Catalogue, book: PriceBook, context: Context) -> None:
        """Record a metered act and take its price from the sources that may pay.

        Records one `Debited` or one `UsageRecorded` with cause `usage:{event_id}`; an action
        that the meter does not count records nothing.

        :raises PaymentRequired: a strict act that no source admits; nothing is recorded.
        :raises UnknownModel: a strict act of a model without a price.
        :raises OccurredAtOutOfRange: too old, or from the future.
        """
        meter = catalogue.meters.get(usage.meter)
        policy = self.policy
        if meter is None:
            raise UnknownMeter(("meter",), f"the catalogue has no meter {usage.meter}")
        if policy is None:
            raise NotFound("workspace", self.workspace_id)
        if not _is_metered(usage, meter):
            return
        now = self.moment(context)
        occurred = usage.occurred_at or now
        _check_when(occurred, now, catalogue)
        strict = usage.mode == "strict"
        ask = Ask(self, usage.meter, meter, policy, catalogue.overdraft, strict)
        if strict and self.freezes:
            raise ask.frozen()
        self.expire_credits(context)
        rated: Rated | None = None
        exact = (0, 1)
        if meter.rate is not None:
            try:
                rated = book.rate(usage.llm_model, usage.provider, usage.tokens, occurred)
            except UnknownModel:
                if strict:
                    raise
                # The fact stands; `rate` prices it once a price book knows the model.
                self._record_unrated(usage, occurred < policy.period_start, context)
                return
            exact = exact_cost(usage.tokens, rated.price)
        units = meter.units(usage.tokens.input, usage.tokens.output)
        funding = fund(ask, units, rated.total if rated else 0, exact)
        late = occurred < policy.period_start
        cycle_id = policy.cycle_id if units else None
        if funding.amount:
            self.record(
                Debited(
                    recorded_at=now,
                    actor=context.actor,
                    correlation_id=context.correlation_id,
                    amount=funding.amount,
                    balance_after=self.wallet.balance - funding.amount,
                    grants=funding.grants,
                    other_draws=funding.draws,
                    usage=usage,
                    reason="overflow" if funding.overflows else "usage",
                    rated=rated,
                    units=units,
                    late=late,
                    cycle_id=cycle_id,
                )
            )
        else:
            self.record(
                UsageRecorded(
                    recorded_at=now,
                    actor=context.actor,
                    correlation_id=context.correlation_id,
                    usage=usage,
                    draws=funding.draws,
                    rated=rated,
                    units=units,
                    late=late,
                    cycle_id=cycle_id,
                )
            )

    def _record_unrated(self, usage: Usage, late: bool, context: Context) -> None:
        stamp = self.stamp(context, "")
        self.record(UsageRecorded(**stamp, usage=usage, late=late))

    def rate(
        self, usage_id: str, original: UsageRecorded, book: PriceBookVersion, context: Context
    ) -> bool:
        """Price an act that was recorded unrated, and debit it; False if ``book`` cannot."""
        usage = original.usage
        entry = book.find(usage.llm_model or "", usage.provider)
        if entry is None:
            return False
        rated = book.rate(usage.tokens, entry)
        self.record(
            UsageRated(
                **self.stamp(context, f"rating:{usage_id}"),
                usage_id=usage_id,
                usage=usage,
                usage_at=usage.occurred_at or original.recorded_at,
                rated=rated,
            )
        )
        if rated.total:
            self.record(
                Debited(
                    **self.stamp(context, f"rated_debit:{usage_id}"),
                    amount=rated.total,
                    balance_after=self.balance - rated.total,
                    grants=self.wallet.plan_draw(rated.total),
                    rated=rated,
                    rates_usage_id=usage_id,
                )
            )
        return True

    def void(
        self,
        usage_id: str,
        original: Debited | UsageRecorded,
        credited: Mapping[str, Credited],
        reason: str | None,
        ticket_ref: str | None,
        reinstate_expired: bool,
        context: Context,
    ) -> None:
        """Give back exactly what an act drew. ``credited`` holds the credits of its grants.

        :raises AlreadyVoided: by the unique cause `void:{usage_id}`, at the commit.
        """
        if original.usage is None:
            raise AlreadyVoided(f"{usage_id} is not a metered act")
        self.expire_credits(context)
        now = self.moment(context)
        returned: list[Grant] = []
        for draw in original.draws:
            if draw.source == "wallet":
                returned += _returns(draw, credited, self.version + 1, now, reinstate_expired)
        amount = sum(grant.remaining for grant in returned)
        self.record(
            UsageVoided(
                **self.stamp(context, f"void:{usage_id}"),
                usage_id=usage_id,
                usage=original.usage,
                usage_at=original.usage.occurred_at or original.recorded_at,
                draws=original.draws,
                amount=amount,
                balance_after=self.balance + amount,
                returned=tuple(returned),
                rated=original.rated,
                units=original.units,
                cycle_id=original.cycle_id,
                reason=reason,
                ticket_ref=ticket_ref,
            )
        )

    def expire_credits(self, context: Context) -> None:
        """Write off what is left of grants whose time is over, oldest expiry first."""
        for grant in self.wallet.expired(self.moment(context)):
            self.record(
                CreditsExpired(
                    **self.stamp(context, f"expiry:{grant.grant_id}:{self.version + 1}"),
                    grant_id=grant.grant_id,
                    amount=grant.remaining,
                    balance_after=self.balance - grant.remaining,
                )
            )

    # Decisions about money.

    def credit(
        self,
        amount: int,
        source: CreditSource,
        cause: str,
        context: Context,
        *,
        category: Category = "paid",
        priority: int = 50,
        expires_at: datetime | None = None,
        **refs: Any,
    ) -> None:
        """Take money in. ``refs``: payment_attempt_id, payment_ref, ticket_ref, reason."""
        self.expire_credits(context)
        if amount <= 0:
            raise InvalidInput(("amount_usd",), "a credit must be positive")
        if self.balance + amount > BALANCE_LIMIT:
            raise InvalidInput(("amount_usd",), "would make the balance larger than it can be")
        if expires_at is not None and expires_at <= self.moment(context):
            raise InvalidInput(("expires_at",), "must be in the future")
        self.record(
            Credited(
                **self.stamp(context, cause),
                amount=amount,
                source=source,
                grant_id=f"g{self.version + 1}",
                balance_after=self.balance + amount,
                category=category,
                priority=priority,
                expires_at=expires_at,
                **refs,
            )
        )

    def adjust(
        self, amount: int, reason: str, ticket_ref: str, cause: str, context: Context
    ) -> None:
        """Correct the balance by adding, up or down; down may leave debt."""
        if amount > 0:
            self.credit(amount, "adjustment", cause, context, ticket_ref=ticket_ref, reason=reason)
            return
        if amount == 0:
            raise InvalidInput(("amount_usd",), "an adjustment of nothing is no adjustment")
        self.expire_credits(context)
        if self.balance + amount < -BALANCE_LIMIT:
            raise InvalidInput(("amount_usd",), "would make the debt larger than it can be")
        self.record(
            Debited(
                **self.stamp(context, cause),
                amount=-amount,
                balance_after=self.balance + amount,
                grants=self.wallet.plan_draw(-amount),
                reason="adjustment",
                note=reason,
                ticket_ref=ticket_ref,
            )
        )

    def reverse(
        self,
        payment: Credited,
        amount: int,
        kind: Literal["refund", "chargeback"],
        cause: str,
        context: Context,
        *,
        psp_ref: str | None = None,
        ticket_ref: str | None = None,
    ) -> None:
        """Take a payment's credits back: its own grant first, then the others, then debt.

        :raises NotReversible: more than the payment brought in (invariant L8).
        """
        self.expire_credits(context)
        attempt = payment.payment_attempt_id or ""
        left = payment.amount - self.reversed.get(attempt, 0)
        if amount <= 0 or amount > left:
            raise NotReversible(f"{left} µ of this payment can be reversed, not {amount}")
        self.record(
            CreditsReversed(
                **self.stamp(context, cause),
                reversal_id=cause,
                cause_kind=kind,
                payment_attempt_id=attempt,
                amount=amount,
                balance_after=self.balance - amount,
                grants=self.wallet.plan_draw(amount, first=payment.grant_id),
                psp_ref=psp_ref,
                ticket_ref=ticket_ref,
            )
        )

    def freeze(
        self,
        reason: FreezeReason,
        ref: str,
        note: str | None,
        context: Context,
    ) -> None:
        """Stop all spending for a reason; the same reason and reference again is a no-op."""
        if (reason, ref) in self.freezes:
            return
        cause = f"freeze:{reason}:{ref}:{self.version + 1}"
        self.record(AccountFrozen(**self.stamp(context, cause), reason=reason, ref=ref, note=note))

    def unfreeze(
        self, reason: str | None, ticket_ref: str, note: str | None, context: Context
    ) -> None:
        """Lift one kind of reason, or every reason when ``reason`` is None."""
        for kind, ref in self.freezes:
            if reason is not None and kind != reason:
                continue
            self.record(
                AccountUnfrozen(
                    **self.stamp(context, f"unfreeze:{kind}:{ref}:{self.version + 1}"),
                    reason=kind,
                    ref=ref,
                    still_frozen=len(self.freezes) > 1,
                    note=note,
                    ticket_ref=ticket_ref,
                )
            )


def _is_metered(usage: Usage, meter: Meter) -> bool:
    if not meter.billable_actions or usage.action in meter.billable_actions:
        return True
    if usage.action in meter.non_metered_actions:
        return False
    known = ", ".join((*meter.billable_actions, *meter.non_metered_actions))
    raise UnknownAction(("action",), f"{usage.meter} knows the actions {known}")


def _check_when(occurred: datetime, now: datetime, catalogue: Catalogue) -> None:
    if occurred > now + FUTURE:
        raise OccurredAtOutOfRange(("occurred_at",), "more than 5 minutes in the future")
    if occurred < now - timedelta(days=catalogue.max_backdate_days):
        raise OccurredAtOutOfRange(
            ("occurred_at",),
            f"more than {catalogue.max_backdate_days} days ago; record it as an adjustment",
        )


def _returns(
    draw: Draw,
    credited: Mapping[str, Credited],
    version: int,
    now: datetime,
    reinstate_expired: bool,
) -> list[Grant]:
    """The grants that a voided wallet draw reopens, each with its part."""
    returns: list[Grant] = []
    for grant_id, part in draw.grants.items():
        grant = credited[grant_id].grant(part) if grant_id in credited else Grant(grant_id, part)
        if grant.expires_at is not None and grant.expires_at <= now:
            if not reinstate_expired:
                continue
            # Its old expiry would take it away again at once.
            grant = Grant(grant_id, part, grant.category, grant.priority)
        returns.append(grant)
    debt = draw.amount - sum(draw.grants.values())
    if debt:
        returns.append(Grant(f"g{version}", debt))
    return returns
