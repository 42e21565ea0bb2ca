"""Every way in which the domain says no. Refusals carry facts; only `api/problems.py` knows HTTP.

Refusal
├── InvalidInput ─ UnknownModel, UnknownMeter, UnknownAction, AmountTooSmall, OAuthRejected,
│                  OccurredAtOutOfRange, BackdatedPriceBook, InvalidCatalogue
├── NotFound
├── Forbidden ─ PaymentRefNotAllowed, OverageNotAvailable, OAuthNotAvailable
├── PaymentRequired ─ AccountFrozen, InsufficientCredits, CreditsExhausted, EstimateNotCovered,
│                     OverflowNotCovered, QuotaExceeded, NoPaymentSource, BudgetExhausted
├── Conflict ─ UsageConflict, PaymentRefConflict, AlreadyVoided, HoldClosed,
│                  NotReversible
└── TryAgain ─ Busy, Unavailable, ConcurrencyConflict, OutcomeUnknown, StripeUnavailable,
               StripeOutcomeUnknown
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar


class Refusal(Exception):
    """The ledger will not do what was asked, and says which rule forbids it."""

    code: ClassVar[str] = "refused"
    provisional: ClassVar[bool] = False
    """Whether the same request may be answered otherwise later, without anybody asking anew."""


# -- what was asked makes no sense --------------------------------------------------------------


@dataclass(eq=False)
class InvalidInput(Refusal):
    """A value that no ledger state could accept. ``loc`` names the field."""

    code: ClassVar[str] = "validation_error"
    loc: tuple[str | int, ...]
    message: str

    def __str__(self) -> str:
        return self.message


class UnknownModel(InvalidInput):
    """No price book in force prices this model."""

    code: ClassVar[str] = "unknown_model"


class UnknownMeter(InvalidInput):
    """The catalogue has no such meter."""


class UnknownAction(InvalidInput):
    """The meter knows its actions, and this is none of them."""

    code: ClassVar[str] = "unknown_action"


@dataclass(eq=False)
class OAuthRejected(InvalidInput):
    """The user's own account no longer takes calls, and falling back is switched off."""

    code: ClassVar[str] = "oauth_rejected"
    fallback_available: bool = False


class AmountTooSmall(InvalidInput):
    """Below the smallest amount that this operation moves."""

    code: ClassVar[str] = "amount_too_small"


class OccurredAtOutOfRange(InvalidInput):
    """Too old to be accepted late, or further in the future than clocks may differ."""

    code: ClassVar[str] = "occurred_at_out_of_range"


class BackdatedPriceBook(InvalidInput):
    """A price book that would change what has already been rated."""


class InvalidCatalogue(InvalidInput):
    """A catalogue document that breaks a rule; ``loc`` is the path to the field."""


# -- who asks, and for what ---------------------------------------------------------------------


@dataclass(eq=False)
class NotFound(Refusal):
    """No such thing in this workspace; also the answer for another workspace's things."""

    code: ClassVar[str] = "not_found"
    kind: str
    id: str

    def __str__(self) -> str:
        return f"There is no {self.kind} {self.id} here."


@dataclass(eq=False)
class Forbidden(Refusal):
    """The caller is known, but may not do this."""

    code: ClassVar[str] = "forbidden"
    message: str

    def __str__(self) -> str:
        return self.message


class OverageNotAvailable(Forbidden):
    """The plan has no overage rate."""

    code: ClassVar[str] = "overage_not_available_on_plan"


class OAuthNotAvailable(Forbidden):
    """The plan does not let calls run on the user's own account."""

    code: ClassVar[str] = "oauth_not_available_on_plan"


class PaymentRefNotAllowed(Forbidden):
    """Recording a payment needs the scope `payments:record`."""

    code: ClassVar[str] = "payment_ref_not_allowed"


# -- nobody pays --------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class PaymentRequired(Refusal):
    """No source may pay for the act. Amounts in µ; nothing was recorded."""

    code: ClassVar[str] = "no_payment_source"
    plan: str
    balance: int = 0
    available: int = 0
    is_frozen: bool = False
    needs_oauth: bool = False
    needs_credits: bool = False
    resets_at: datetime | None = None
    overage_available: bool = False
    # What a decision receipt tells: the state it was decided on, and what each source had.
    stream_version: int = 0
    policy_version: int = 0
    sources: tuple[tuple[str, int], ...] = ()
    meter: str = ""
    rule: str = ""
    at: datetime | None = None
    decision_id: str | None = None  # given at the edge, where a receipt is kept

    def __str__(self) -> str:
        return "No source may pay for this call."


class NoPaymentSource(PaymentRequired):
    """The source that was asked for cannot pay."""


class AccountFrozen(PaymentRequired):
    """A frozen account pays for nothing, whatever it holds."""

    code: ClassVar[str] = "account_frozen"

    def __str__(self) -> str:
        return "The account is frozen; an administrator has to release it."


class InsufficientCredits(PaymentRequired):
    """The wallet is the source that is left, and it has nothing available."""

    code: ClassVar[str] = "insufficient_credits"

    def __str__(self) -> str:
        return "The credit balance is exhausted."


@dataclass(eq=False, kw_only=True)
class EstimateNotCovered(InsufficientCredits):
    """The meter wants the whole estimate covered, and the wallet has less. ``needed_micros``: µ
    that it would have to have."""

    needed_micros: int = 0

    def __str__(self) -> str:
        had = max(self.available, 0)
        return f"The call may cost {self.needed_micros} µ of the balance; {had} µ are available."


@dataclass(eq=False, kw_only=True)
class OverflowNotCovered(EstimateNotCovered):
    """Overflow is on, but the wallet has less than what the quota leaves over would cost."""

    tokens_remaining: int = 0
    tokens_requested: int = 0

    def __str__(self) -> str:
        tokens = f"The quota has {self.tokens_remaining} of {self.tokens_requested} tokens. "
        return tokens + super().__str__()


class CreditsExhausted(PaymentRequired):
    """The included credits are used up and overage is not switched on."""

    code: ClassVar[str] = "ai_credits_exhausted"

    def __str__(self) -> str:
        return "The included credits of this cycle are used up."


@dataclass(eq=False, kw_only=True)
class QuotaExceeded(PaymentRequired):
    """The quota does not cover the whole act, and nothing else may pay for the rest."""

    code: ClassVar[str] = "compile_quota_exceeded"
    tokens_remaining: int = 0
    tokens_requested: int = 0

    def __str__(self) -> str:
        return f"{self.tokens_requested} tokens asked for, {self.tokens_remaining} remain."


@dataclass(eq=False, kw_only=True)
class BudgetExhausted(PaymentRequired):
    """A hard budget of the customer's own leaves no room. Amounts in µ."""

    code: ClassVar[str] = "budget_exhausted"
    budget_id: str = ""
    limit_micros: int = 0
    left_micros: int = 0

    def __str__(self) -> str:
        left, limit = self.left_micros, self.limit_micros
        return f"The budget {self.budget_id} leaves {left} of {limit} µ."


# -- something else already happened ------------------------------------------------------------


@dataclass(eq=False)
class Conflict(Refusal):
    """What was asked contradicts what is already recorded."""

    code: ClassVar[str] = "conflict"
    message: str

    def __str__(self) -> str:
        return self.message


class UsageConflict(Conflict):
    """This `event_id` was already used for another act."""

    code: ClassVar[str] = "usage_event_conflict"


class PaymentRefConflict(Conflict):
    """This `payment_ref` already names another payment."""

    code: ClassVar[str] = "payment_ref_conflict"


class AlreadyVoided(Conflict):
    """A usage is voided once."""

    code: ClassVar[str] = "already_voided"


class HoldClosed(Conflict):
    """The hold was settled, released or has expired."""

    code: ClassVar[str] = "hold_closed"


class NotReversible(Conflict):
    """More than the payment brought in cannot be taken back."""

    code: ClassVar[str] = "not_reversible"


# -- not now ------------------------------------------------------------------------------------


@dataclass(eq=False)
class TryAgain(Refusal):
    """Nothing is wrong with the request; the same request is safe to send again."""

    code: ClassVar[str] = "try_again"
    retry_after: int = field(default=1)  # seconds

    def __str__(self) -> str:
        return "The ledger cannot answer now; send the same request again."


class Busy(TryAgain):
    """The writer's queue is full. Nothing was written."""

    code: ClassVar[str] = "ledger_busy"


class Unavailable(TryAgain):
    """The database does not answer. Nothing was written."""

    code: ClassVar[str] = "database_unavailable"


class ConcurrencyConflict(TryAgain):
    """Other writers moved this account too often. Nothing was written."""

    code: ClassVar[str] = "concurrency_conflict"


class OutcomeUnknown(TryAgain):
    """The database went away during the commit; the same event_id finds out what happened."""

    code: ClassVar[str] = "outcome_unknown"


class StripeUnavailable(TryAgain):
    """Stripe cannot be asked now, or not at all. Nothing was done there."""

    code: ClassVar[str] = "stripe_unavailable"

    def __str__(self) -> str:
        return "The payment provider cannot be asked now; send the same request again."


class StripeOutcomeUnknown(StripeUnavailable):
    """Stripe was asked and did not answer: what was asked for may or may not have happened.
    Whoever asked looks it up; until then it is pending, never failed."""
