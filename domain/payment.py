"""One attempt to bring money in. Its stream's id is derived from what must be unique."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.errors import PaymentRefConflict
from domain.facts import Aggregate, Context, Fact
from domain.identity import stream_id

Kind = Literal["topup", "auto_topup", "manual", "subscription_checkout", "card_setup"]


def manual_payment_stream(payment_ref: str) -> UUID:
    """The stream of a payment recorded by reference: one a reference and deployment, for ever."""
    return stream_id("payment_ref", payment_ref)


class PaymentRequested(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Money is asked for. ``amount`` in µ."""

    payment_attempt_id: str
    workspace_id: str
    kind: Kind
    amount: int
    currency: str
    payment_ref: str | None = None

    def apply(self, aggregate: PaymentAttempt) -> None:
        aggregate.payment_attempt_id = self.payment_attempt_id
        aggregate.workspace_id = self.workspace_id
        aggregate.amount = self.amount
        aggregate.payment_ref = self.payment_ref
        aggregate.status = "requested"


class PaymentSucceeded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The money is there. ``amount_received`` in µ."""

    amount_received: int
    at: datetime = msgspec.field(name="received_at")

    def apply(self, aggregate: PaymentAttempt) -> None:
        aggregate.status = "succeeded"


class PaymentAttempt(Aggregate, omit_defaults=True, gc=False):
    """Money on its way in."""

    category: ClassVar[str] = "payment"
    facts: ClassVar[tuple[type[Fact], ...]] = (PaymentRequested, PaymentSucceeded)

    payment_attempt_id: str = ""
    workspace_id: str = ""
    amount: int = 0
    payment_ref: str | None = None
    status: str = "none"

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
                payment_attempt_id=f"pay_{self.id.hex}",
                workspace_id=workspace_id,
                kind="manual",
                amount=amount,
                currency=currency,
                payment_ref=payment_ref,
            )
        )
        self.record(
            PaymentSucceeded(
                **self.stamp(context, f"payment_succeeded:{payment_ref}"),
                amount_received=amount,
                at=self.moment(context),
            )
        )
        return True
