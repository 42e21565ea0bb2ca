"""Budgets: caps that a customer sets on its own spending, checked in the funding decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from domain.facts import Fact

if TYPE_CHECKING:
    from domain.account.hold_facts import Hold, Labels
    from domain.account.state import AccountState
    from domain.account.usage import Usage
    from domain.account.usage_facts import Draw

On = Literal["workspace", "api_key", "face", "bot", "thread"]
FIELDS = {"api_key": "api_key_id", "face": "face_id", "bot": "bot_id", "thread": "thread_id"}


class Budget(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A cap in µ a day (UTC) or a cycle. ``spent`` counts the window that ``window`` names."""

    budget_id: str
    on: On
    value: str | None
    limit: int
    per: Literal["day", "cycle"]
    hard: bool
    window: str = ""
    spent: int = 0
    warned: str = ""  # the last window in which passing it was said

    def covers(self, labels: Usage | Labels) -> bool:
        """Whether a call with these labels counts towards this budget."""
        return self.on == "workspace" or getattr(labels, FIELDS[self.on]) == self.value

    def spent_in(self, window: str) -> int:
        """µ spent in a window; a new one starts from nothing."""
        return self.spent if window == self.window else 0


class Reached(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A budget that spending has come up to, as an answer tells it: µ, in the window that runs."""

    budget_id: str
    limit: int
    spent: int
    hard: bool = False


def window_of(budget: Budget, at: datetime, cycle_id: str) -> str:
    """The day or cycle that an instant belongs to."""
    return at.date().isoformat() if budget.per == "day" else cycle_id


def cost_of(draws: Iterable[Draw]) -> int:
    """What an act costs the customer, in µ: wallet money and overage."""
    return sum(draw.amount for draw in draws if draw.source in ("wallet", "overage"))


def spend(
    budgets: Mapping[str, Budget],
    usage: Usage,
    draws: Iterable[Draw],
    at: datetime,
    account: AccountState,
) -> dict[str, Budget]:
    """The budgets after an act."""
    cost = cost_of(draws)
    cycle = account.policy.cycle_id if account.policy else ""
    after = dict(budgets)
    for id, budget in budgets.items():
        if budget.covers(usage):
            window = window_of(budget, at, cycle)
            spent = budget.spent_in(window) + cost
            after[id] = msgspec.structs.replace(budget, window=window, spent=spent)
    return after


def reached(
    budgets: Iterable[Budget], labels: Usage | Labels, at: datetime, cycle_id: str
) -> tuple[Reached, ...]:
    """The budgets of such a call that are spent: a soft one refuses nothing, so the answer of
    every call says so."""
    return tuple(
        Reached(budget.budget_id, budget.limit, spent, budget.hard)
        for budget in budgets
        if budget.covers(labels)
        and (spent := budget.spent_in(window_of(budget, at, cycle_id))) >= budget.limit
    )


def reached_by(
    account: AccountState, usage: Usage, draws: Iterable[Draw], at: datetime
) -> tuple[Reached, ...]:
    """The same after an act that is about to be recorded."""
    after = spend(account.budgets, usage, draws, at, account)
    return reached(after.values(), usage, at, account.policy.cycle_id if account.policy else "")


def unspend(
    budgets: Mapping[str, Budget],
    usage: Usage,
    draws: Iterable[Draw],
    at: datetime,
    account: AccountState,
) -> dict[str, Budget]:
    """The budgets after an act that was recorded ``at`` was voided: what it spent of a window
    that still runs may be spent again."""
    cost, policy = cost_of(draws), account.policy
    cycle = policy.cycle_id if policy and at >= policy.period_start else "another"
    after = dict(budgets)
    for id, budget in budgets.items():
        if budget.covers(usage) and budget.window == window_of(budget, at, cycle):
            after[id] = msgspec.structs.replace(budget, spent=max(budget.spent - cost, 0))
    return after


def left(budget: Budget, holds: Iterable[Hold], at: datetime, cycle_id: str) -> int:
    """µ that may still be spent, with what calls under way have set aside."""
    held = sum(hold.amount + hold.overage for hold in holds if budget.covers(hold.labels))
    return budget.limit - budget.spent_in(window_of(budget, at, cycle_id)) - held


class BudgetSet(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A cap is in force from here; the same id again changes it and keeps what was spent."""

    budget_id: str
    on: On
    limit: int
    per: Literal["day", "cycle"]
    hard: bool
    value: str | None = None

    def apply(self, account: AccountState) -> None:
        before = account.budgets.get(self.budget_id)
        keeps = before is not None and (before.on, before.value, before.per) == (
            self.on,
            self.value,
            self.per,
        )
        budget = Budget(self.budget_id, self.on, self.value, self.limit, self.per, self.hard)
        if before is not None and keeps:
            budget = msgspec.structs.replace(budget, window=before.window, spent=before.spent)
        account.budgets = {**account.budgets, self.budget_id: budget}


class BudgetRemoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The cap is lifted."""

    budget_id: str

    def apply(self, account: AccountState) -> None:
        account.budgets = {id: b for id, b in account.budgets.items() if id != self.budget_id}


class BudgetWarned(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Spending reached a cap; said once a window."""

    budget_id: str
    window: str
    spent: int
    limit: int
    hard: bool = False

    def apply(self, account: AccountState) -> None:
        budget = account.budgets.get(self.budget_id)
        if budget is not None:
            said = msgspec.structs.replace(budget, warned=self.window)
            account.budgets = {**account.budgets, self.budget_id: said}


BUDGET_FACTS: tuple[type[Fact], ...] = (
    BudgetSet,
    BudgetRemoved,
    BudgetWarned,
)
