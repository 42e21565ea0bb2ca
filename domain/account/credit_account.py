"""One workspace's credit account: everything that can be spent, and the permission to spend it.

Its facts are in `*_facts.py` and `budget.py` beside it, the funding waterfall in `funding.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from domain.account.allowance_facts import ALLOWANCE_FACTS
from domain.account.ask import Ask
from domain.account.bill import Bill, bill_of
from domain.account.budget import BUDGET_FACTS, reached_by
from domain.account.credit_facts import CREDIT_FACTS, Credited
from domain.account.funding import Funding, beyond_balance, check_fallback, fund
from domain.account.hold_facts import HOLD_FACTS, ONLY, Hold, HoldPlaced
from domain.account.holds import HoldingAccount, is_metered
from domain.account.topup_facts import TOPUP_FACTS
from domain.account.usage import Usage
from domain.account.usage_facts import (
    USAGE_FACTS,
    Debited,
    Draw,
    UsageRated,
    UsageRecorded,
    UsageVoided,
)
from domain.account.wallet import Grant
from domain.catalogue.catalogue import Catalogue
from domain.catalogue.price_book import PriceBook, PriceBookVersion, exact_cost
from domain.errors import (
    AlreadyVoided,
    ConcurrencyConflict,
    HoldClosed,
    InvalidInput,
    NotFound,
    OccurredAtOutOfRange,
    UnknownMeter,
)
from domain.facts import Context, Fact
from domain.identity import version_of
from domain.money import BALANCE_LIMIT, round_half_even

FUTURE = timedelta(minutes=5)
"""How far ahead of ours a service's clock may be."""


class CreditAccount(HoldingAccount, omit_defaults=True, gc=False):
    """Money and units of one workspace. Decisions refuse or record; they never set a balance."""

    category: ClassVar[str] = "credit_account"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        *(*CREDIT_FACTS, *USAGE_FACTS, *ALLOWANCE_FACTS),
        *(*HOLD_FACTS, *BUDGET_FACTS, *TOPUP_FACTS),
    )

    def charge(
        self,
        usage: Usage,
        catalogue: Catalogue,
        book: PriceBook,
        context: Context,
        placed: HoldPlaced | None = None,
    ) -> None:
        """Record a metered act and take its price from the sources that may pay.

        Records one `Debited` or one `UsageRecorded` with cause `usage:{event_id}`; an action
        that the meter does not count records nothing. An act with a ``hold_id`` settles it.
        ``placed`` is the same hold as it was placed: a fact of a call whose hold is over is paid
        by whom its authorisation named, with nothing set aside any more.

        :raises PaymentRequired: a strict act that no source admits; nothing is recorded.
        :raises UnknownModel: a strict act of a model without a price.
        :raises OccurredAtOutOfRange: too old, or from the future.
        :raises HoldClosed: a strict act whose hold was settled, released or has expired.
        """
        meter = catalogue.meters.get(usage.meter)
        policy = self.policy
        if meter is None:
            raise UnknownMeter(("meter",), f"the catalogue has no meter {usage.meter}")
        if policy is None:
            raise NotFound("workspace", self.workspace_id)
        if not is_metered(usage.action, usage.meter, meter):
            return
        now, before = self.moment(context), self.wallet
        occurred = usage.occurred_at
        if occurred is None:
            occurred = now
        else:
            _check_when(occurred, now, catalogue)
        strict = usage.mode == "strict"
        self.tidy(policy, catalogue, context)
        waits = self.waits_at(occurred) if self.waiting else None
        counts = waits is not None and meter.bucket in waits.buckets
        policy = waits.policy if waits is not None and counts else self.policy or policy
        hold = self._hold_of(usage, strict, placed)
        only = ONLY[hold.source] if hold is not None else None
        acts = (self, usage.meter, meter, policy, catalogue, now, occurred, usage)
        ask = Ask(*acts, strict, hold, only, waits)
        if strict and self.freezes and hold is None:
            raise ask.frozen()
        if strict and hold is None and not self.api_fallback and ask.waterfall[:1] == ("oauth",):
            check_fallback(ask)
        # Without a price the fact stands, and what is paid in units is: `rate` debits the rest.
        bill = bill_of(usage, meter, book, occurred)
        units = meter.units(usage.tokens.input, usage.tokens.output)
        funding = fund(ask, units, bill.total, bill.exact, _went_through_oauth(ask, usage))
        self._post(ask, usage, bill, units, funding, context)
        if self.budgets:
            self.warn_of_budgets(context)
        if self.auto_topup is not None:
            self.consider_after(before, context)

    def _post(
        self, ask: Ask, usage: Usage, bill: Bill, units: int, funding: Funding, context: Context
    ) -> None:
        cycle_id = _cycle_of(ask, funding) if units else None
        budgets = reached_by(self, usage, funding.all, ask.now) if self.budgets else ()
        if funding.amount:
            fact: Fact = Debited(
                recorded_at=ask.now,
                actor=context.actor,
                correlation_id=context.correlation_id,
                amount=funding.amount,
                balance_after=self.wallet.balance - funding.amount,
                **Debited.drawn(funding.amount, funding.grants),
                other_draws=funding.draws,
                usage=usage,
                reason="overflow" if funding.overflows or ask.overflows else "usage",
                price=bill.price,
                total=None if bill.total == funding.amount else bill.total,
                units=units,
                late=ask.late,
                cycle_id=cycle_id,
                budgets=budgets,
            )
        else:
            fact = UsageRecorded(
                recorded_at=ask.now,
                actor=context.actor,
                correlation_id=context.correlation_id,
                usage=usage,
                draws=funding.draws,
                price=bill.price,
                total=bill.total,
                units=units,
                late=ask.late,
                cycle_id=cycle_id,
                budgets=budgets,
            )
        self.record(fact)

    def _hold_of(self, usage: Usage, strict: bool, placed: HoldPlaced | None) -> Hold | None:
        if usage.hold_id is None:
            return None
        hold = self.holds.get(usage.hold_id)
        if hold is None and strict:
            raise HoldClosed(f"{usage.hold_id} was settled, released or has expired")
        if hold is None and placed is not None:
            hold = placed.promise
        if hold is not None and hold.meter != usage.meter:
            raise InvalidInput(("meter",), f"the hold is for the meter {hold.meter}")
        return hold

    def rate(
        self,
        usage_id: str,
        original: UsageRecorded,
        catalogue: Catalogue,
        book: PriceBookVersion,
        context: Context,
    ) -> bool:
        """Price an act that was recorded unrated, and debit it; False if ``book`` cannot, or asks
        more than any balance can hold, or if it was rated or voided before."""
        if version_of(usage_id) not in self.unrated:
            return False
        usage = original.usage
        entry = book.find(usage.llm_model or "", usage.provider)
        if entry is None:
            return False
        rated = book.rate(usage.tokens, entry)
        if rated.total > BALANCE_LIMIT:
            return False  # a slip of the price: the act waits for the next one
        owed = rated.total
        waterfall = self.policy.waterfalls.get(usage.meter, ()) if self.policy else ()
        if not original.units and "allowance" in waterfall:
            owed = 0  # counted in units, of which it used none: so is one that is priced at once
        elif original.draws:  # of units, an allowance paid the rest when it was recorded
            exact, part = exact_cost(usage.tokens, rated.price)
            owed = round_half_even(exact * original.unpaid_units, part * original.units)
        before = self.wallet
        self.expire_credits(context)
        owed, lost = beyond_balance(self.wallet, catalogue, owed)
        self.record(
            UsageRated(
                **self.stamp(context, f"rating:{usage_id}"),
                usage_id=usage_id,
                usage=usage,
                usage_at=usage.occurred_at or original.recorded_at,
                price=rated.stored,
                total=rated.total,
                owed=owed,
                draws=lost,
                cycle_id=original.cycle_id,
            )
        )
        if owed:
            self.record(
                Debited(
                    **self.stamp(context, f"rated_debit:{usage_id}"),
                    amount=owed,
                    balance_after=self.balance - owed,
                    **Debited.drawn(owed, self.wallet.plan_draw(owed)),
                    price=rated.stored,
                    rates_usage_id=usage_id,
                )
            )
            if self.budgets:
                self.warn_of_budgets(context)
        self.consider_after(before, context)
        return True

    def void(
        self,
        usage_id: str,
        original: Debited | UsageRecorded,
        usage_at: datetime,
        credited: Mapping[str, Credited],
        repaid: Mapping[str, int],
        reason: str | None,
        ticket_ref: str | None,
        reinstate_expired: bool,
        context: Context,
    ) -> None:
        """Give back exactly what an act drew. ``usage_at`` is when it happened; ``repaid`` is what
        which grant paid of the debt that it left, and ``credited`` has the credits of its grants
        and of those.

        :raises AlreadyVoided: by the unique cause `void:{usage_id}`, at the commit.
        :raises ConcurrencyConflict: it was priced a moment ago; what it drew must be read again.
        """
        if original.usage is None:
            raise AlreadyVoided(f"{usage_id} is not a metered act")
        unrated = isinstance(original, UsageRecorded) and original.is_unrated
        if unrated and version_of(usage_id) not in self.unrated:
            raise ConcurrencyConflict()
        before = self.wallet
        self.expire_credits(context)
        now = self.moment(context)
        returned: list[Grant] = []
        for draw in original.draws:
            if draw.source == "wallet":
                parts = _returns(draw, credited, repaid, self.version + 1, now, reinstate_expired)
                returned += parts
        amount = sum(grant.remaining for grant in returned)
        self.record(
            UsageVoided(
                **self.stamp(context, f"void:{usage_id}"),
                usage_id=usage_id,
                usage=original.usage,
                usage_at=usage_at,
                draws=original.draws,
                amount=amount,
                balance_after=self.balance + amount,
                returned=tuple(returned),
                price=original.price,
                total=original.rated.total if original.rated else 0,
                units=original.units,
                late=original.late,
                act_recorded_at=original.recorded_at,
                cycle_id=original.cycle_id,
                reason=reason,
                ticket_ref=ticket_ref,
            )
        )
        self.consider_after(before, context)


def _went_through_oauth(ask: Ask, usage: Usage) -> bool:
    """Whether the user's own account paid its provider for the call."""
    if ask.hold is not None:
        return ask.hold.route == "oauth"
    if usage.route != "oauth":
        return False
    if ask.oauth() != "active" and ask.strict:
        raise InvalidInput(("route",), "no active connection serves this model on this plan")
    return True


def _cycle_of(ask: Ask, funding: Funding) -> str:
    """The cycle whose usage an act is: late, that of its own units. Its overage alone is of the
    cycle that runs, on whose statement it will stand."""
    is_beyond = any(draw.source == "overage" for draw in funding.draws)
    return ask.policy.cycle_id if is_beyond else ask.reported_in


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
    repaid: Mapping[str, int],
    version: int,
    now: datetime,
    reinstate_expired: bool,
) -> list[Grant]:
    """The grants that a voided wallet draw reopens, each with its part."""
    # The debt first: a grant that repaid it would not come back as the grant it was.
    debt = draw.amount - sum(draw.grants.values()) - sum(repaid.values())
    returns = [Grant(f"g{version}", debt)] if debt else []
    for grant_id, part in (*draw.grants.items(), *repaid.items()):
        grant = credited[grant_id].grant(part) if grant_id in credited else Grant(grant_id, part)
        if grant.is_over(now):
            if not reinstate_expired:
                continue
            # Its old expiry would take it away again at once.
            grant = Grant(grant_id, part, grant.category, grant.priority)
        returns.append(grant)
    return returns
