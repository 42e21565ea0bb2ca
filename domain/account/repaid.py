"""Whose money repaid the debt that an act had left: it goes back there when the act is voided."""

from __future__ import annotations

from collections.abc import Iterator

from domain.account.credit_facts import Credited, CreditsReinstated
from domain.account.taken import total
from domain.account.usage_facts import Debited, UsageRecorded, UsageVoided
from domain.facts import Fact


class Debt:
    """The part of an act's price that no grant gave. Debts are repaid in the order in which they
    were made. ``by`` is what each grant has repaid of this one so far, in µ."""

    def __init__(self, act: Debited | UsageRecorded) -> None:
        wallet = [draw for draw in act.draws if draw.source == "wallet"]
        self.left = sum(draw.amount - sum(draw.grants.values()) for draw in wallet)
        self._ahead = -act.balance_after - self.left if isinstance(act, Debited) else 0
        self.by: dict[str, int] = {}

    def repay(self, fact: Fact) -> None:
        """Take in the account's next fact."""
        for grant_id, amount in _came_in(fact):
            ahead = min(self._ahead, amount)
            part = min(self.left, amount - ahead)
            self._ahead -= ahead
            self.left -= part
            if part:
                self.by[grant_id] = self.by.get(grant_id, 0) + part


def _came_in(fact: Fact) -> Iterator[tuple[str, int]]:
    match fact:
        case Credited():
            yield fact.grant_id, fact.amount
        case CreditsReinstated():
            yield fact.grant_id, fact.amount - total(fact.returned)
            yield from ((grant.grant_id, grant.remaining) for grant in fact.returned)
        case UsageVoided():
            yield from ((grant.grant_id, grant.remaining) for grant in fact.returned)
        case _:
            pass
