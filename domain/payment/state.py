"""What one attempt to bring money in is: fields that only its facts move, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from domain.facts import Aggregate
from domain.payment.facts import Dispute, Doubt, Kind, RefundState, Via
from domain.payment.processor import Order

OPEN = ("requested", "submitted", "requires_action")

OF_A_CHARGE = ("ch_", "py_")
"""How ids of charges begin; what is told under one is all that went back of it."""


def given_back(refunds: Mapping[str, tuple[int, RefundState]]) -> int:
    """µ of refunds that did not fail, by Stripe's id. What a charge says went back in all and
    what its refunds say one by one is the same money."""
    whole = single = 0
    for id, (amount, state) in refunds.items():
        if state != "failed" and id.startswith(OF_A_CHARGE):
            whole += amount
        elif state != "failed":
            single += amount
    return max(whole, single)


class PaymentState(Aggregate, omit_defaults=True, gc=False):
    """One attempt, as its facts left it."""

    payment_attempt_id: str = ""
    workspace_id: str = ""
    amount: int = 0
    payment_ref: str | None = None
    status: str = "none"
    kind: Kind | None = None  # None: nobody here asked for it
    currency: str = ""
    via: Via = "card"
    plan: str | None = None
    requested_at: datetime | None = None
    stripe_customer_id: str | None = None
    payment_method_id: str | None = None
    stripe_payment_intent: str | None = None
    stripe_session: str | None = None
    stripe_charge: str | None = None
    url: str | None = None
    code: str | None = None
    decline_code: str | None = None
    credited: int = 0  # µ
    grant_id: str | None = None
    refunds_asked: dict[str, int] = {}  # by the administrator's key
    refunds: dict[str, tuple[int, RefundState]] = {}  # by Stripe's id
    disputes: dict[str, Dispute] = {}
    quarantined: dict[str, tuple[int, str, Doubt]] = {}  # by payment intent
    doubted: tuple[str, ...] = ()  # intents that were ever quarantined

    # What the state answers.

    @property
    def is_open(self) -> bool:
        """Whether its end is not known yet."""
        return self.status in OPEN

    @property
    def refunded(self) -> int:
        """µ that Stripe gave back, or is about to."""
        return given_back(self.refunds)

    @property
    def taken_back(self) -> int:
        """µ of its credits that must be reversed now, whatever happened in which order (L8)."""
        contested = sum(max(d.withdrawn - d.reinstated, 0) for d in self.disputes.values())
        return min(self.credited, self.refunded + contested)

    def awaits(self, intent_id: str) -> bool:
        """Whether what is told of a payment has to wait until an administrator, or the payment's
        own news, says whether it is credited here."""
        if intent_id in self.doubted:
            return intent_id in self.quarantined
        return self.kind is not None and self.status != "succeeded"

    def is_credited_for(self, intent_id: str) -> bool:
        """Whether this payment is what the credits were given for, by itself or by an
        administrator's word."""
        return self.grant_id is not None and self.stripe_payment_intent == intent_id

    def order(self) -> Order:
        """What to ask the processor for."""
        assert self.kind is not None
        assert self.requested_at is not None
        return Order(
            payment_attempt_id=self.payment_attempt_id,
            workspace_id=self.workspace_id,
            kind=self.kind,
            amount=self.amount,
            currency=self.currency,
            customer=self.stripe_customer_id or "",
            payment_method=self.payment_method_id,
            requested_at=self.requested_at,
        )

    def put_dispute(self, dispute_id: str, dispute: Dispute) -> None:
        """Remember a dispute's state; used by facts only."""
        self.disputes = {**self.disputes, dispute_id: dispute}
