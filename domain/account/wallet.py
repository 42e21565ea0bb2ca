"""The wallet: prepaid money as a list of grants, with overdraft as debt.

``balance = Σ remaining of open grants − debt``; no open grant is empty or negative, and debt
and an open grant never stand side by side. Grants burn by priority (low first), earliest
expiry (none last), promotional before paid, earliest credited.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

Category = Literal["paid", "promotional"]


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Money that came in together. ``grant_id`` is "g" and the version of its `Credited`."""

    grant_id: str
    remaining: int  # µ, > 0 while open
    category: Category = "paid"
    priority: int = 50
    expires_at: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether its time is over: at exactly ``expires_at`` it is."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def opened(self) -> int:
        """The stream version that opened it: the order in which grants came in."""
        return int(self.grant_id[1:])


NEVER = datetime.max.replace(tzinfo=UTC)


def burn_order(grant: Grant) -> tuple[int, datetime, bool, int]:
    """Sort key: the grant that is spent first comes first."""
    return (grant.priority, grant.expires_at or NEVER, grant.category == "paid", grant.opened)


class Wallet(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Open grants in burn order, and debt. Amounts in µ; moving money gives a new wallet."""

    grants: tuple[Grant, ...] = ()
    debt: int = 0
    balance: int = 0
    next_expiry: datetime | None = None

    # What would happen.

    def plan_draw(self, amount: int, first: str | None = None) -> dict[str, int]:
        """How much each grant would give, in burn order; what is missing becomes debt.

        ``first`` names a grant that gives before all others (a refund takes its own).
        """
        grants: Iterable[Grant] = self.grants
        if first is not None:
            grants = sorted(grants, key=lambda grant: grant.grant_id != first)
        taken: dict[str, int] = {}
        for grant in grants:
            if amount == 0:
                break
            part = min(grant.remaining, amount)
            taken[grant.grant_id] = part
            amount -= part
        return taken

    def expired(self, now: datetime) -> list[Grant]:
        """Open grants whose time is over at ``now``."""
        if self.next_expiry is None or now < self.next_expiry:
            return []
        return [grant for grant in self.grants if grant.is_over(now)]

    # What did happen.

    def take(self, amount: int, parts: Mapping[str, int]) -> Wallet:
        """Take ``amount`` out: the named part of each grant, and the rest as debt."""
        balance = self.balance - amount
        grants = self.grants
        if len(parts) == 1 and grants:
            head = grants[0]
            left = head.remaining - parts.get(head.grant_id, head.remaining)
            if left > 0:  # the usual debit: one grant pays, and is not used up
                head = Grant(head.grant_id, left, head.category, head.priority, head.expires_at)
                debt = self.debt + amount - sum(parts.values())
                return Wallet((head, *grants[1:]), debt, balance, self.next_expiry)
        kept = (_less(grant, parts.get(grant.grant_id, 0)) for grant in grants)
        rest = tuple(grant for grant in kept if grant is not None)
        debt = self.debt + amount - sum(parts.values())
        return Wallet(rest, debt, balance, _earliest(rest))

    def put(self, grant: Grant) -> Wallet:
        """Take money in: it repays debt first, and the rest joins or opens its grant."""
        balance = self.balance + grant.remaining
        repaid = min(self.debt, grant.remaining)
        rest = grant.remaining - repaid
        if rest == 0:
            return Wallet(self.grants, self.debt - repaid, balance, self.next_expiry)
        others = [g for g in self.grants if g.grant_id != grant.grant_id]
        rest += sum(g.remaining for g in self.grants if g.grant_id == grant.grant_id)
        insort(others, msgspec.structs.replace(grant, remaining=rest), key=burn_order)
        return Wallet(tuple(others), self.debt - repaid, balance, _earliest(others))


def _less(grant: Grant, part: int) -> Grant | None:
    if part == 0:
        return grant
    left = grant.remaining - part
    return msgspec.structs.replace(grant, remaining=left) if left else None


def _earliest(grants: Iterable[Grant]) -> datetime | None:
    return min((g.expires_at for g in grants if g.expires_at is not None), default=None)
