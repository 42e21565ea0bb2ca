"""What a payment's fate means for its account. Both are saved together, so money and credits
never say different things.

Each function brings two aggregates to the state that Stripe's word demands: called again, or
in another order, it ends in the same state.
"""

from __future__ import annotations

from typing import Literal

from domain.account.credit_account import CreditAccount
from domain.errors import Conflict
from domain.facts import Context
from domain.money import BALANCE_LIMIT
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import Doubt, Remedy
from domain.payment.processor import Contest, Intent, Refund

Disposition = Literal["applied", "ignored", "deferred"]


def settle(
    account: CreditAccount,
    attempt: PaymentAttempt,
    intent: Intent,
    received: int,
    context: Context,
    *,
    on_page: bool = False,
) -> Disposition:
    """Take in a payment as it is at Stripe now. ``received``: µ without tax. ``on_page``: the
    word is about a checkout page, so that a failure is its end and not a customer's first try."""
    if intent.status == "succeeded":
        return _paid(account, attempt, intent, received, context)
    if attempt.kind not in ("topup", "auto_topup") or attempt.status == "succeeded":
        return "ignored"
    if intent.workspace_id != attempt.workspace_id:
        return "ignored"
    if attempt.via == "checkout" and not on_page:
        return "ignored"
    if attempt.stripe_payment_intent not in (None, intent.id):
        return "ignored"
    if intent.status in ("failed", "canceled"):
        if attempt.fail(intent, context):
            account.topup_ended(attempt.payment_attempt_id, "failed", attempt.amount, context)
    elif intent.status == "requires_action":
        attempt.require_action(intent, context)
        account.topup_ended(
            attempt.payment_attempt_id,
            "failed",
            attempt.amount,
            context,
            suspend="authentication_required",
        )
    else:
        attempt.submitted("payment_intent", intent.id, None, context)
    return "applied"


def _paid(
    account: CreditAccount,
    attempt: PaymentAttempt,
    intent: Intent,
    received: int,
    context: Context,
) -> Disposition:
    if intent.id in attempt.doubted or (
        attempt.status == "succeeded" and attempt.stripe_payment_intent == intent.id
    ):
        return "applied"
    doubt: Doubt | None = attempt.doubt(intent, received)
    if doubt is None and account.balance + received > BALANCE_LIMIT:
        doubt = "balance_limit"
    if doubt is not None:
        attempt.quarantine(intent, received, account.workspace_id, doubt, context)
        return "applied"
    _credit(account, attempt, intent, received, context)
    return "applied"


def _credit(
    account: CreditAccount, attempt: PaymentAttempt, intent: Intent, amount: int, context: Context
) -> None:
    payment = attempt.payment_attempt_id
    account.expire_credits(context)
    grant_id = f"g{account.version + 1}"
    account.credit(
        amount,
        "auto_topup" if attempt.kind == "auto_topup" else "card_topup",
        f"credit:{payment}",
        context,
        payment_attempt_id=payment,
    )
    attempt.succeed(amount, context, intent=intent, grant_id=grant_id)
    if attempt.kind == "auto_topup":
        account.topup_ended(payment, "credited", amount, context)
    # What went back before its payment was known.
    contested = any(d.withdrawn for d in attempt.disputes.values())
    _take_back(account, attempt, "chargeback" if contested else "refund", intent.id, context)


def _take_back(
    account: CreditAccount,
    attempt: PaymentAttempt,
    kind: Literal["refund", "chargeback"],
    psp_ref: str,
    context: Context,
    ticket_ref: str | None = None,
) -> None:
    """Bring what the account has reversed of a payment to what Stripe says has gone back."""
    if attempt.grant_id is None:
        return
    payment = attempt.payment_attempt_id
    delta = attempt.taken_back - account.reversed.get(payment, 0)
    # A failed refund may be tried again, so the version makes the cause unique; that it happens
    # once is decided by the state.
    cause = f"{psp_ref}:{attempt.taken_back}:{attempt.version}"
    if delta > 0:
        account.take_back(
            payment,
            attempt.grant_id,
            delta,
            kind,
            f"reversal:{cause}",
            context,
            psp_ref=psp_ref,
            ticket_ref=ticket_ref,
        )
    elif delta < 0:
        account.reinstate(
            payment, attempt.grant_id, -delta, f"reinstatement:{cause}", psp_ref, context
        )


def refunded(
    account: CreditAccount,
    attempt: PaymentAttempt,
    intent: Intent,
    charge_id: str,
    refunds: tuple[Refund, ...],
    context: Context,
) -> Disposition:
    """Take in what Stripe has given back of a payment. Before the payment itself is known, or
    while it is in quarantine, it waits."""
    if attempt.awaits(intent.id):
        return "deferred"
    if not attempt.is_credited_for(intent.id):
        return "ignored"
    attempt.note_refunds(
        {refund.id: (refund.amount, refund.state) for refund in refunds},
        f"refund:{charge_id}",
        context,
    )
    tickets = [refund.ticket_ref for refund in refunds if refund.ticket_ref]
    ticket = tickets[0] if tickets else None
    _take_back(account, attempt, "refund", charge_id, context, ticket)
    return "applied"


def disputed(
    account: CreditAccount, attempt: PaymentAttempt, contest: Contest, context: Context
) -> Disposition:
    """Take in a dispute as it is now: freeze at once, move what the bank moved, and release the
    account when the payment turns out to be right."""
    if contest.reinstated and not contest.withdrawn and not _withdrawn(attempt, contest.id):
        return "deferred"
    if attempt.dispute(contest.id, contest.amount, account.workspace_id, context):
        account.freeze("chargeback", contest.id, None, context)
    attempt.dispute_withdrawn(contest.id, contest.withdrawn, context)
    attempt.dispute_reinstated(contest.id, contest.reinstated, context)
    _take_back(account, attempt, "chargeback", contest.id, context)
    closed = contest.outcome and attempt.dispute_closed(contest.id, contest.outcome, context)
    if closed and contest.outcome not in (None, "lost"):
        account.lift_freeze("chargeback", contest.id, contest.outcome, context)
    return "applied"


def _withdrawn(attempt: PaymentAttempt, dispute_id: str) -> bool:
    dispute = attempt.disputes.get(dispute_id)
    return dispute is not None and dispute.withdrawn > 0


def resolve(
    account: CreditAccount,
    attempt: PaymentAttempt,
    intent_id: str | None,
    remedy: Remedy,
    ticket_ref: str,
    context: Context,
) -> int:
    """An administrator's word on money in quarantine; answers its µ.

    :raises NothingQuarantined: none waits.
    :raises Conflict: it cannot be credited: the order is paid, or it is of another currency.
    """
    intent, amount, currency = attempt.resolve(intent_id, remedy, ticket_ref, context)
    if remedy != "credited":
        if not attempt.quarantined and attempt.abandon("quarantined", context):
            account.topup_ended(attempt.payment_attempt_id, "failed", attempt.amount, context)
        return amount
    if attempt.status == "succeeded":
        raise Conflict("the order is paid already: refund this money, or give credits for it")
    if currency != account.currency:
        raise Conflict("the money is of another currency: refund it")
    found = Intent(id=intent, status="succeeded", currency=account.currency)
    _credit(account, attempt, found, amount, context)
    return amount
