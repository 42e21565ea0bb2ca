"""How the domain says no where cards are charged.

PaymentRequired ─ PaymentMethodRequired, CardDeclined, AuthenticationRequired
Conflict ─ NotRefundable, NothingQuarantined
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from domain.errors import Conflict, PaymentRequired


class PaymentMethodRequired(PaymentRequired):
    """There is no saved card to charge."""

    code: ClassVar[str] = "payment_method_required"

    def __str__(self) -> str:
        return "No card is saved here: save one first, or send a payment_ref."


@dataclass(eq=False, kw_only=True)
class CardDeclined(PaymentRequired):
    """The card was asked and said no. Nothing was charged."""

    code: ClassVar[str] = "card_declined"
    decline_code: str | None = None
    payment_attempt_id: str = ""

    def __str__(self) -> str:
        return f"The card was declined ({self.decline_code}); try again with another key or card."


@dataclass(eq=False, kw_only=True)
class AuthenticationRequired(PaymentRequired):
    """The card's holder has to confirm the payment at ``checkout_url``; it credits then, once."""

    code: ClassVar[str] = "authentication_required"
    provisional: ClassVar[bool] = True
    checkout_url: str | None = None
    payment_attempt_id: str = ""

    def __str__(self) -> str:
        return "The bank wants the card's holder to confirm this payment at checkout_url."


class NotRefundable(Conflict):
    """There is no card payment, or not so much of one left, to give back."""

    code: ClassVar[str] = "not_refundable"


class NothingQuarantined(Conflict):
    """No money of this payment waits for a decision."""

    code: ClassVar[str] = "nothing_quarantined"
