"""What happens to one attempt to bring money in, and where its stream is. Amounts in µ.

An attempt's stream is derived from what must be unique, and its id from the stream: both are
known before anybody is asked for money, and a second beginning meets the first.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import msgspec

from domain.facts import Fact
from domain.identity import stream_id

if TYPE_CHECKING:
    from domain.payment.attempt import PaymentAttempt

Kind = Literal["topup", "auto_topup", "manual", "subscription_checkout", "card_setup"]
Via = Literal["card", "checkout"]
Doubt = Literal["amount", "currency", "workspace", "paid_twice", "unknown_attempt", "balance_limit"]
Remedy = Literal["credited", "refunded", "dismissed"]
RefundState = Literal["pending", "succeeded", "failed"]
DisputeOutcome = Literal["won", "lost", "warning_closed", "prevented"]


def manual_payment_stream(payment_ref: str) -> UUID:
    """The stream of a payment recorded by reference: one a reference and deployment, for ever."""
    return stream_id("payment_ref", payment_ref)


def payment_stream(kind: Kind, workspace_id: str, key: str) -> UUID:
    """The stream of an attempt that was asked for under a key of the caller's."""
    return stream_id("payment", f"{kind}/{workspace_id}/{key}")


def attempt_id(stream: UUID) -> str:
    """The public id of the attempt that a stream tells of."""
    return f"pay_{stream.hex}"


def attempt_stream(payment_attempt_id: str) -> UUID:
    """The stream of an attempt. Ids that are none of ours have one too: nothing is in it."""
    try:
        return UUID(hex=payment_attempt_id.removeprefix("pay_"))
    except ValueError:
        return stream_id("payment", f"stray/{payment_attempt_id}")


# -- money comes in -----------------------------------------------------------------------------


class PaymentRequested(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Money (or a card to save) is asked for; nobody outside knows of it yet."""

    payment_attempt_id: str
    workspace_id: str
    kind: Kind
    amount: int
    currency: str
    payment_ref: str | None = None
    payment_method_id: str | None = None
    stripe_customer_id: str | None = None
    plan: str | None = None
    via: Via = "card"

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.payment_attempt_id = self.payment_attempt_id
        attempt.workspace_id = self.workspace_id
        attempt.kind = self.kind
        attempt.amount = self.amount
        attempt.currency = self.currency
        attempt.payment_ref = self.payment_ref
        attempt.payment_method_id = self.payment_method_id
        attempt.stripe_customer_id = self.stripe_customer_id
        attempt.plan = self.plan
        attempt.via = self.via
        attempt.status = "requested"
        attempt.requested_at = self.recorded_at


class PaymentSubmitted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Stripe knows of it: a payment under way, or a page that the customer may pay on."""

    stripe_object: Literal["payment_intent", "checkout.session"]
    stripe_id: str
    url: str | None = None  # of the page

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.status = "submitted"
        if self.stripe_object == "payment_intent":
            attempt.stripe_payment_intent = self.stripe_id
        else:
            attempt.stripe_session, attempt.url = self.stripe_id, self.url


class PaymentRequiresAction(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The card's holder has to confirm it at ``url``."""

    url: str | None
    stripe_payment_intent: str

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.status, attempt.url = "requires_action", self.url
        attempt.stripe_payment_intent = self.stripe_payment_intent


class PaymentSucceeded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The money is there (or the card saved: 0). Its credit, in the same save, opened
    ``grant_id``."""

    amount_received: int
    at: datetime = msgspec.field(name="received_at")
    stripe_payment_intent: str | None = None
    stripe_charge: str | None = None
    grant_id: str | None = None

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.status, attempt.url = "succeeded", None
        attempt.stripe_payment_intent = self.stripe_payment_intent or attempt.stripe_payment_intent
        attempt.stripe_charge = self.stripe_charge
        if self.grant_id is not None:
            attempt.grant_id, attempt.credited = self.grant_id, self.amount_received


class PaymentFailed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The card said no. Only Stripe's word that it was paid after all may follow."""

    code: str
    decline_code: str | None = None
    retryable: bool = False
    stripe_payment_intent: str | None = None

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.status, attempt.url = "failed", None
        attempt.code, attempt.decline_code = self.code, self.decline_code
        attempt.stripe_payment_intent = self.stripe_payment_intent or attempt.stripe_payment_intent


class PaymentAbandoned(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody paid on the page in time, or what was paid was not kept."""

    reason: Literal["session_expired", "quarantined"]

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.status, attempt.url = "abandoned", None


# -- money that is not what was asked for -------------------------------------------------------


class PaymentQuarantined(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Money arrived that the order does not explain. It is not credited until an administrator
    says what it is."""

    payment_attempt_id: str
    workspace_id: str
    stripe_payment_intent: str
    amount_received: int
    currency: str
    why: Doubt

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.payment_attempt_id = self.payment_attempt_id
        attempt.workspace_id = attempt.workspace_id or self.workspace_id
        money = (self.amount_received, self.currency, self.why)
        attempt.quarantined = {**attempt.quarantined, self.stripe_payment_intent: money}
        attempt.doubted = (*attempt.doubted, self.stripe_payment_intent)


class QuarantineResolved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An administrator decided: credited (here, at once), refunded at Stripe, or neither."""

    stripe_payment_intent: str
    remedy: Remedy
    amount: int
    ticket_ref: str

    def apply(self, attempt: PaymentAttempt) -> None:
        kept = attempt.quarantined.items()
        attempt.quarantined = {i: m for i, m in kept if i != self.stripe_payment_intent}


# -- money goes back ----------------------------------------------------------------------------


class RefundRequested(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An administrator asks Stripe to give money back. Credits move when Stripe says so."""

    refund_key: str
    amount: int
    ticket_ref: str | None = None

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.refunds_asked = {**attempt.refunds_asked, self.refund_key: self.amount}


class PaymentRefunded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What Stripe has given back so far, in all; less than before where a refund failed.
    ``refunds``: (amount, state) by Stripe's id."""

    cumulative: int
    refund_ids: tuple[str, ...]
    refunds: dict[str, tuple[int, RefundState]]

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.refunds = {**attempt.refunds, **self.refunds}


class Dispute(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A payment that its payer contests."""

    amount: int
    withdrawn: int = 0
    reinstated: int = 0
    outcome: DisputeOutcome | None = None


class PaymentDisputed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The payer told the bank that the payment was not right. The ids stand here where nobody
    had asked for it as an attempt: it paid an invoice, say."""

    dispute_id: str
    amount: int
    payment_attempt_id: str = ""
    workspace_id: str = ""

    def apply(self, attempt: PaymentAttempt) -> None:
        attempt.payment_attempt_id = attempt.payment_attempt_id or self.payment_attempt_id
        attempt.workspace_id = attempt.workspace_id or self.workspace_id
        attempt.put_dispute(self.dispute_id, Dispute(self.amount))


class DisputeFundsWithdrawn(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The bank took the money."""

    dispute_id: str
    amount: int

    def apply(self, attempt: PaymentAttempt) -> None:
        dispute = attempt.disputes[self.dispute_id]
        attempt.put_dispute(
            self.dispute_id, msgspec.structs.replace(dispute, withdrawn=self.amount)
        )


class DisputeFundsReinstated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The bank gave the money back."""

    dispute_id: str
    amount: int

    def apply(self, attempt: PaymentAttempt) -> None:
        dispute = attempt.disputes[self.dispute_id]
        attempt.put_dispute(
            self.dispute_id, msgspec.structs.replace(dispute, reinstated=self.amount)
        )


class DisputeClosed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The bank decided."""

    dispute_id: str
    outcome: DisputeOutcome

    def apply(self, attempt: PaymentAttempt) -> None:
        dispute = attempt.disputes[self.dispute_id]
        attempt.put_dispute(self.dispute_id, msgspec.structs.replace(dispute, outcome=self.outcome))
