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

    @property
    def opened(self) -> int:
        """The stream version that opened it: the order in which grants came in."""
        return int(self.grant_id[1:])


NEVER = datetime.max.replace(tzinfo=UTC)


def burn_order(grant: Grant) -> tuple[int, datetime, bool, int]:
    """Sort key: the grant that is spent first comes first."""
    return (grant.priority, grant.expires_at or NEVER, grant.category == "paid", grant.opened)


class Wallet:
    """Open grants in burn order, and debt. Amounts in µ."""

    __slots__ = ("balance", "debt", "grants", "next_expiry")

    def __init__(self) -> None:
        self.grants: list[Grant] = []
        self.debt = 0
        self.balance = 0
        self.next_expiry: datetime | None = None

    @classmethod
    def of(cls, grants: Iterable[Grant], debt: int) -> Wallet:
        """A wallet that holds these open grants, or this debt."""
        wallet = cls()
        wallet.grants = sorted(grants, key=burn_order)
        wallet.debt = debt
        wallet.balance = sum(grant.remaining for grant in wallet.grants) - debt
        wallet._note_expiry()
        return wallet

    def clone(self) -> Wallet:
        """An independent copy; grants themselves are immutable."""
        copy = object.__new__(Wallet)
        copy.grants = self.grants.copy()
        copy.debt = self.debt
        copy.balance = self.balance
        copy.next_expiry = self.next_expiry
        return copy

    # -- what would happen ----------------------------------------------------------------------

    def plan_draw(self, amount: int, first: str | None = None) -> dict[str, int]:
        """How much each grant would give, in burn order; what is missing becomes debt.

        ``first`` names a grant that gives before all others (a refund takes its own).
        """
        grants = self.grants
        if grants and first is None and grants[0].remaining >= amount:
            return {grants[0].grant_id: amount}
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
        """Open grants whose time is over at ``now`` (at exactly ``expires_at`` it is)."""
        if self.next_expiry is None or now < self.next_expiry:
            return []
        return [g for g in self.grants if g.expires_at is not None and g.expires_at <= now]

    # -- what did happen ------------------------------------------------------------------------

    def take(self, amount: int, parts: Mapping[str, int]) -> None:
        """Take ``amount`` out: the named part of each grant, and the rest as debt."""
        self.balance -= amount
        grants = self.grants
        if len(parts) == 1 and grants and grants[0].grant_id in parts:
            head, part = grants[0], parts[grants[0].grant_id]
            if head.remaining > part:
                grants[0] = Grant(
                    head.grant_id,
                    head.remaining - part,
                    head.category,
                    head.priority,
                    head.expires_at,
                )
                self.debt += amount - part
                return
        if parts:
            self.grants = [
                left
                for grant in grants
                if (left := _less(grant, parts.get(grant.grant_id, 0))) is not None
            ]
            self._note_expiry()
        self.debt += amount - sum(parts.values())

    def put(self, grant: Grant) -> None:
        """Take money in: it repays debt first, and the rest joins or opens its grant."""
        self.balance += grant.remaining
        repaid = min(self.debt, grant.remaining)
        self.debt -= repaid
        rest = grant.remaining - repaid
        if rest == 0:
            return
        same = next((g for g in self.grants if g.grant_id == grant.grant_id), None)
        if same is not None:
            self.grants.remove(same)
            rest += same.remaining
        insort(self.grants, msgspec.structs.replace(grant, remaining=rest), key=burn_order)
        self._note_expiry()

    def _note_expiry(self) -> None:
        self.next_expiry = min(
            (g.expires_at for g in self.grants if g.expires_at is not None), default=None
        )


def _less(grant: Grant, part: int) -> Grant | None:
    if part == 0:
        return grant
    left = grant.remaining - part
    return msgspec.structs.replace(grant, remaining=left) if left else None
