"""One attempt to bring money in: what was asked for, what came of it, and what went back."""

from __future__ import annotations

from typing import Any, ClassVar

from domain.errors import PaymentRefConflict
from domain.facts import Context, Fact
from domain.payment.facts import (
    DisputeClosed,
    DisputeFundsReinstated,
    DisputeFundsWithdrawn,
    Doubt,
    Kind,
    PaymentAbandoned,
    PaymentDisputed,
    PaymentFailed,
    PaymentQuarantined,
    PaymentRefunded,
    PaymentRequested,
    PaymentRequiresAction,
    PaymentSubmitted,
    PaymentSucceeded,
    QuarantineResolved,
    RefundRequested,
    attempt_id,
)
from domain.payment.processor import Intent
from domain.payment.returns import ReturnedPayment

RETRYABLE = ("insufficient_funds", "processing_error", "try_again_later", "issuer_not_available")


class PaymentAttempt(ReturnedPayment, omit_defaults=True, gc=False):
    """Money on its way in, and back. What Stripe says of it may come in any order and again."""

    category: ClassVar[str] = "payment"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        PaymentRequested,
        PaymentSubmitted,
        PaymentRequiresAction,
        PaymentSucceeded,
        PaymentFailed,
        PaymentAbandoned,
        PaymentQuarantined,
        QuarantineResolved,
        RefundRequested,
        PaymentRefunded,
        PaymentDisputed,
        DisputeFundsWithdrawn,
        DisputeFundsReinstated,
        DisputeClosed,
    )

    def request(self, kind: Kind, amount: int, context: Context, **terms: Any) -> None:
        """Ask for money, unless that was done. ``terms``: the other fields of the fact."""
        if self.kind is not None:
            return
        self.record(
            PaymentRequested(
                **self.stamp(context, "requested"),
                payment_attempt_id=attempt_id(self.id),
                kind=kind,
                amount=amount,
                **terms,
            )
        )

    def submitted(self, stripe_object: Any, stripe_id: str, url: str | None, ctx: Context) -> None:
        """Stripe knows of it."""
        known = stripe_id in (self.stripe_payment_intent, self.stripe_session)
        if self.is_open and (not known or self.url != url):
            self.record(
                PaymentSubmitted(
                    **self.stamp(ctx, f"submitted:{stripe_id}:{self.version + 1}"),
                    stripe_object=stripe_object,
                    stripe_id=stripe_id,
                    url=url,
                )
            )

    def require_action(self, intent: Intent, context: Context) -> None:
        """The card's holder has to confirm it."""
        if self.status == "succeeded" or (self.status, self.url) == ("requires_action", intent.url):
            return
        self.record(
            PaymentRequiresAction(
                **self.stamp(context, f"requires_action:{intent.id}:{self.version + 1}"),
                url=intent.url,
                stripe_payment_intent=intent.id,
            )
        )

    def doubt(self, intent: Intent, received: int) -> Doubt | None:
        """Why money that was paid cannot be what was asked for; None if it is. ``received``: µ
        without tax."""
        if self.kind not in ("topup", "auto_topup"):
            return "unknown_attempt"
        if (intent.workspace_id, intent.customer) != (self.workspace_id, self.stripe_customer_id):
            return "workspace"
        if self.status == "succeeded" and intent.id != self.stripe_payment_intent:
            return "paid_twice"
        if intent.currency != self.currency:
            return "currency"
        return "amount" if received != self.amount else None

    def succeed(
        self,
        received: int,
        context: Context,
        *,
        intent: Intent | None = None,
        grant_id: str | None = None,
    ) -> None:
        """The money is there, or the card saved."""
        self.record(
            PaymentSucceeded(
                **self.stamp(context, "succeeded"),
                amount_received=received,
                at=self.moment(context),
                stripe_payment_intent=intent.id if intent else None,
                stripe_charge=intent.charge if intent else None,
                grant_id=grant_id,
            )
        )

    def fail(self, intent: Intent, context: Context) -> bool:
        """The card said no; False if that was known, or it was paid after all."""
        said = (intent.code or intent.status, intent.decline_code)
        known = self.status == "failed" and (self.code, self.decline_code) == said
        if known or not (self.is_open or self.status in ("failed", "abandoned")):
            return False
        code, decline_code = said
        self.record(
            PaymentFailed(
                **self.stamp(context, f"failed:{intent.id}:{self.version + 1}"),
                code=code,
                decline_code=decline_code,
                retryable=(decline_code or code) in RETRYABLE,
                stripe_payment_intent=intent.id or None,
            )
        )
        return True

    def abandon(self, reason: Any, context: Context) -> bool:
        """Nobody will pay it any more; False if its end was known."""
        if not self.is_open:
            return False
        self.record(PaymentAbandoned(**self.stamp(context, "abandoned"), reason=reason))
        return True

    # Payments that were made elsewhere.

    def record_manual(
        self,
        workspace_id: str,
        amount: int,
        currency: str,
        payment_ref: str,
        context: Context,
    ) -> bool:
        """Record a payment that was made elsewhere; False if it already is.

        :raises PaymentRefConflict: the reference names another workspace's payment or amount.
        """
        if self.version:
            if (self.workspace_id, self.amount) != (workspace_id, amount):
                raise PaymentRefConflict(
                    f"payment_ref {payment_ref} already names a different payment"
                )
            return False
        self.record(
            PaymentRequested(
                **self.stamp(context, f"payment_ref:{payment_ref}"),
                payment_attempt_id=attempt_id(self.id),
                workspace_id=workspace_id,
                kind="manual",
                amount=amount,
                currency=currency,
                payment_ref=payment_ref,
            )
        )
        stamp = self.stamp(context, f"payment_succeeded:{payment_ref}")
        moment = self.moment(context)
        self.record(PaymentSucceeded(**stamp, amount_received=amount, at=moment))
        return True
