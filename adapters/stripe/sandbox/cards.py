"""Stripe's test cards: which number, or pm_card_… token, does what.

https://docs.stripe.com/testing
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from adapters.stripe.sandbox.errors import StripeError

Authentication = Literal["never", "unless_prepared", "always"]
"""When the bank asks: never; unless the card was authenticated when it was saved; always."""


@dataclass(frozen=True, slots=True)
class TestCard:
    """What a test card is, and what becomes of a payment with it."""

    __test__ = False  # nothing for pytest to collect

    number: str
    brand: str = "visa"
    decline: tuple[str, str] | None = None
    """The error's code and decline_code; the decline_code is "" where Stripe names none."""
    saved: bool = True
    """Whether it can be saved on a customer although its payments fail."""
    authentication: Authentication = "never"
    dispute: str | None = None
    """The reason for which its payments are disputed at once."""
    inquiry: bool = False
    refund: Literal["at_once", "later", "fails"] = "at_once"
    funding: str = "credit"

    @property
    def last4(self) -> str:
        """The digits that may be shown."""
        return self.number[-4:]

    @property
    def fingerprint(self) -> str:
        """The same for the same number, and not the number."""
        return hashlib.sha256(self.number.encode()).hexdigest()[:16]


def _declined(number: str, code: str, decline_code: str) -> TestCard:
    return TestCard(number, decline=(code, decline_code), saved=False)


CARDS = {
    card.number: card
    for card in (
        TestCard("4242424242424242"),
        TestCard("4000056655665556", funding="debit"),
        TestCard("4000000000000077"),
        TestCard("5555555555554444", "mastercard"),
        TestCard("2223003122003222", "mastercard"),
        TestCard("5200828282828210", "mastercard", funding="debit"),
        TestCard("378282246310005", "amex"),
        TestCard("6011111111111117", "discover"),
        _declined("4000000000000002", "card_declined", "generic_decline"),
        _declined("4000000000009995", "card_declined", "insufficient_funds"),
        _declined("4000000000009987", "card_declined", "lost_card"),
        _declined("4000000000009979", "card_declined", "stolen_card"),
        _declined("4000000000006975", "card_declined", "card_velocity_exceeded"),
        _declined("4100000000000019", "card_declined", "fraudulent"),
        _declined("4000000000000069", "expired_card", "expired_card"),
        _declined("4000000000000127", "incorrect_cvc", "incorrect_cvc"),
        _declined("4000000000000119", "processing_error", "processing_error"),
        TestCard("4000000000000341", decline=("card_declined", "generic_decline")),
        TestCard("4000002500003155", authentication="unless_prepared"),
        TestCard("4000002760003184", authentication="always"),
        TestCard("4000000000003220", authentication="always"),
        TestCard(
            "4000008260003178",
            authentication="always",
            decline=("card_declined", "insufficient_funds"),
        ),
        TestCard("4000000000000259", dispute="fraudulent"),
        TestCard("4000000000002685", dispute="product_not_received"),
        TestCard("4000000000001976", dispute="fraudulent", inquiry=True),
        TestCard("4000000000007726", refund="later"),
        TestCard("4000000000005126", refund="fails"),
    )
}

TOKENS = {
    "pm_card_visa": "4242424242424242",
    "pm_card_visa_debit": "4000056655665556",
    "pm_card_bypassPending": "4000000000000077",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_mastercard_debit": "5200828282828210",
    "pm_card_amex": "378282246310005",
    "pm_card_discover": "6011111111111117",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_visa_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": "4000000000006975",
    "pm_card_chargeDeclinedFraudulent": "4100000000000019",
    "pm_card_visa_chargeDeclinedFraudulent": "4100000000000019",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_visa_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_visa_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_visa_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_authenticationRequiredSetupForOffSession": "4000002500003155",
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": "4000008260003178",
    "pm_card_threeDSecure2Required": "4000000000003220",
    "pm_card_createDispute": "4000000000000259",
    "pm_card_createDisputeProductNotReceived": "4000000000002685",
    "pm_card_createDisputeInquiry": "4000000000001976",
    "pm_card_refundSucceed": "4000000000007726",
    "pm_card_pendingRefund": "4000000000007726",
    "pm_card_refundFail": "4000000000005126",
}

DECLINES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}


def card_of(number: str) -> TestCard:
    """The test card with this number.

    :raises StripeError: 402 incorrect_number; or card_declined for a card that is no test card.
    """
    digits = number.replace(" ", "").replace("-", "")
    if digits in CARDS:
        return CARDS[digits]
    if not digits.isdecimal() or not 12 <= len(digits) <= 19 or not _luhn(digits):
        text = "Your card number is incorrect."
        raise StripeError(402, "card_error", text, "incorrect_number", "number", kept=False)
    text = (
        "Your card was declined. Your request was in test mode, but used a non test card."
        " For a list of valid test cards, visit: https://stripe.com/docs/testing."
    )
    decline = {"decline_code": "test_mode_live_card"}
    raise StripeError(402, "card_error", text, "card_declined", kept=False, **decline)


def words_of(code: str, decline_code: str) -> str:
    """What Stripe says to the person whose card is refused."""
    return DECLINES.get(decline_code, DECLINES.get(code, "Your card was declined."))


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
