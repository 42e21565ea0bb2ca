"""What our own facts ask of the card: an account that runs low has it charged."""

from __future__ import annotations

from api.paying.urls import billing_page
from api.stripe.follower import REACTIONS
from api.stripe.till import Till
from domain.account.credit_account import CreditAccount
from domain.account.topup_facts import AutoTopUpTriggered
from domain.commands import Stream
from domain.facts import Context, Recorded
from domain.payment.paying import Urls


async def charge(recorded: Recorded, position: int, till: Till, context: Context) -> None:
    """An account's balance ran low: its card is charged.

    :raises StripeUnavailable: called again later.
    """
    fact = recorded.fact
    assert isinstance(fact, AutoTopUpTriggered)
    account = await till.ledger.book.fresh(Stream(CreditAccount, recorded.originator_id))
    assert isinstance(account, CreditAccount)
    page = billing_page(till.settings.public_url, account.workspace_id)
    await till.ledger.charge_for_auto_topup(
        till.payments, account.workspace_id, fact, Urls(page, page), context
    )


REACTIONS.setdefault(AutoTopUpTriggered, []).append(charge)
