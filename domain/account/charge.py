"""The answer to a metered act, made from its event alone, so that a retry gets the same one."""

from __future__ import annotations

from typing import NamedTuple

from domain.account.budget import Reached
from domain.account.usage_facts import Debited, Draw, UsageRecorded
from domain.catalogue.price_book import Rated
from domain.facts import Recorded
from domain.identity import usage_id


class Charge(NamedTuple):
    """What one act cost and who paid. Amounts in µ. ``usage_id`` is None where the catalogue
    does not meter the action; ``replayed`` marks the answer of an earlier request."""

    usage_id: str | None
    draws: tuple[Draw, ...]
    rated: Rated | None
    units: int
    balance_after: int
    late: bool
    position: int
    replayed: bool
    budgets: tuple[Reached, ...] = ()  # of the customer's own that are spent

    @property
    def metered(self) -> bool:
        """Whether the act left an event."""
        return self.usage_id is not None


def charge_of(recorded: Recorded, balance_after: int, position: int, replayed: bool) -> Charge:
    """The answer of the act that this event records."""
    fact = recorded.fact
    assert isinstance(fact, Debited | UsageRecorded)
    return Charge(
        usage_id(recorded.originator_id, recorded.originator_version),
        fact.draws,
        fact.rated,
        fact.units,
        balance_after,
        fact.late,
        position,
        replayed,
        fact.budgets,
    )


NOT_METERED = Charge(None, (), None, 0, 0, False, 0, False)
