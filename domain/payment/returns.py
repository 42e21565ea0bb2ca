"""Decisions about money of one payment that goes back: refunds, disputes, and strange money."""

from __future__ import annotations

from domain.facts import Context
from domain.payment.errors import NothingQuarantined, NotRefundable
from domain.payment.facts import (
    DisputeClosed,
    DisputeFundsReinstated,
    DisputeFundsWithdrawn,
    DisputeOutcome,
    Doubt,
    PaymentDisputed,
    PaymentQuarantined,
    PaymentRefunded,
    QuarantineResolved,
    RefundRequested,
    RefundState,
    Remedy,
    attempt_id,
)
from domain.payment.processor import Intent
from domain.payment.state import PaymentState, given_back

RANK: dict[RefundState, int] = {"pending": 0, "succeeded": 1, "failed": 2}


class ReturnedPayment(PaymentState, omit_defaults=True, gc=False):
    """An attempt whose money may go back. Each step is noted once, whatever comes first."""

    # Money that nobody asked for.

    def quarantine(
        self, intent: Intent, received: int, workspace_id: str, why: Doubt, context: Context
    ) -> None:
        """Put money aside until an administrator says what it is; once a payment."""
        if intent.id in self.doubted:
            return
        self.record(
            PaymentQuarantined(
                **self.stamp(context, f"quarantined:{intent.id}"),
                payment_attempt_id=self.payment_attempt_id or attempt_id(self.id),
                workspace_id=workspace_id,
                stripe_payment_intent=intent.id,
                amount_received=received,
                currency=intent.currency,
                why=why,
            )
        )

    def resolve(
        self, intent_id: str | None, remedy: Remedy, ticket_ref: str, context: Context
    ) -> tuple[str, int, str]:
        """An administrator's decision; answers the intent, its money in µ and its currency.

        :raises NothingQuarantined: no such money waits here.
        """
        waiting = [i for i in self.quarantined if intent_id in (None, i)]
        if not waiting:
            raise NothingQuarantined("no money of this payment waits for a decision")
        intent = waiting[0]
        amount, currency, _ = self.quarantined[intent]
        self.record(
            QuarantineResolved(
                **self.stamp(context, f"resolved:{intent}"),
                stripe_payment_intent=intent,
                remedy=remedy,
                amount=amount,
                ticket_ref=ticket_ref,
            )
        )
        return intent, amount, currency

    # Money that goes back.

    def request_refund(
        self, key: str, amount: int, ticket_ref: str | None, context: Context
    ) -> None:
        """Ask Stripe to give money back, once per ``key``.

        :raises NotRefundable: it is not a card payment that was credited, or less is left.
        """
        if key in self.refunds_asked:
            return
        if not self.credited or self.stripe_payment_intent is None:
            raise NotRefundable(f"{self.payment_attempt_id} is no card payment that was credited")
        left = self.credited - self.taken_back
        if amount > left:
            raise NotRefundable(f"{left} µ of this payment are left to refund, not {amount}")
        self.record(
            RefundRequested(
                **self.stamp(context, f"refund_requested:{key}"),
                refund_key=key,
                amount=amount,
                ticket_ref=ticket_ref,
            )
        )

    def note_refunds(
        self, refunds: dict[str, tuple[int, RefundState]], cause: str, context: Context
    ) -> None:
        """What Stripe says of its refunds. Each one's state only ever goes forward."""
        news = {
            id: refund for id, refund in refunds.items() if _later(self.refunds.get(id), refund)
        }
        if not news:
            return
        merged = {**self.refunds, **news}
        cumulative = given_back(merged)
        self.record(
            PaymentRefunded(
                **self.stamp(context, f"{cause}:{cumulative}:{self.version + 1}"),
                cumulative=cumulative,
                refund_ids=tuple(sorted(news)),
                refunds=news,
            )
        )

    def dispute(self, dispute_id: str, amount: int, workspace_id: str, context: Context) -> bool:
        """The payer contests it; False if that was known."""
        if dispute_id in self.disputes:
            return False
        ours = bool(self.payment_attempt_id)
        self.record(
            PaymentDisputed(
                **self.stamp(context, f"dispute:{dispute_id}"),
                dispute_id=dispute_id,
                amount=amount,
                payment_attempt_id="" if ours else attempt_id(self.id),
                workspace_id="" if ours else workspace_id,
            )
        )
        return True

    def dispute_withdrawn(self, dispute_id: str, amount: int, context: Context) -> None:
        """The bank took the money."""
        if amount and not self.disputes[dispute_id].withdrawn:
            stamp = self.stamp(context, f"dispute:{dispute_id}:withdrawn")
            self.record(DisputeFundsWithdrawn(**stamp, dispute_id=dispute_id, amount=amount))

    def dispute_reinstated(self, dispute_id: str, amount: int, context: Context) -> None:
        """The bank gave the money back."""
        if amount and not self.disputes[dispute_id].reinstated:
            stamp = self.stamp(context, f"dispute:{dispute_id}:reinstated")
            self.record(DisputeFundsReinstated(**stamp, dispute_id=dispute_id, amount=amount))

    def dispute_closed(self, dispute_id: str, outcome: DisputeOutcome, context: Context) -> bool:
        """The bank decided; False if that was known. Only what was lost may be won after all."""
        before = self.disputes[dispute_id].outcome
        if before == outcome or before not in (None, "lost"):
            return False
        again = "" if before is None else f":{outcome}"
        stamp = self.stamp(context, f"dispute:{dispute_id}:closed{again}")
        self.record(DisputeClosed(**stamp, dispute_id=dispute_id, outcome=outcome))
        return True


def _later(before: tuple[int, RefundState] | None, now: tuple[int, RefundState]) -> bool:
    """Whether a refund's state is news."""
    if before is None:
        return True
    return (RANK[now[1]], now[0]) > (RANK[before[1]], before[0])
