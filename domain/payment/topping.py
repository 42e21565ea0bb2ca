"""Use cases of the automatic top-up: the customer's order, and the charge that it asks for."""

from __future__ import annotations

from domain.account.credit_account import CreditAccount
from domain.account.topup_facts import AutoTopUpTriggered, Suspension
from domain.commands import Command, Done, Stream
from domain.errors import InvalidInput, NotFound
from domain.facts import Context
from domain.money import usd
from domain.payment.cards import Cards
from domain.payment.errors import PaymentMethodRequired
from domain.payment.facts import attempt_stream
from domain.payment.paying import Urls
from domain.payment.processor import Payments
from domain.payment.returning import Returning
from domain.places import account_stream
from domain.workspace.workspace import Workspace, workspace_stream


class Topping(Cards, Returning):
    """Charging the saved card by itself."""

    async def configure_auto_topup(
        self,
        workspace_id: str,
        enabled: bool,
        threshold: int,
        amount: int | None,
        target: int | None,
        monthly_cap: int | None,
        bounds: tuple[int, int],
        context: Context,
    ) -> Done:
        """Put the customer's order in force. ``bounds``: smallest and largest charge in µ.

        :raises InvalidInput: neither amount nor target, or both; a charge out of bounds;
            anything negative, also in an order that is switched off.
        """
        least, most = bounds
        _not_negative(
            threshold_usd=threshold,
            amount_usd=amount,
            target_usd=target,
            monthly_cap_usd=monthly_cap,
        )
        if enabled:
            _check(threshold, amount, target, monthly_cap, least, most)

        def decide(account: CreditAccount, workspace: Workspace) -> None:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            account.configure_auto_topup(
                enabled,
                threshold,
                amount,
                target,
                monthly_cap,
                most,
                workspace.payment_method is not None,
                context,
            )

        reads = (Stream(Workspace, workspace_stream(workspace_id)),)
        command = Command((account_stream(workspace_id),), decide, None, reads)
        return await self.book.submit(command)

    async def charge_for_auto_topup(
        self,
        payments: Payments,
        workspace_id: str,
        asked: AutoTopUpTriggered,
        urls: Urls,
        context: Context,
    ) -> None:
        """Carry out the charge that an account has triggered, unless the customer has switched
        it off or the account was frozen before anybody asked for the money. Safe to repeat: an
        attempt is charged once.

        :raises TryAgain: Stripe does not answer; nobody knows yet whether it was charged.
        """
        payment = asked.payment_attempt_id
        account = await self.account(workspace_id)
        auto = account.auto_topup
        if auto is None or auto.in_flight != payment:
            return
        is_asked_for = (await self.payment(payment)).kind is not None
        if not is_asked_for and (account.is_frozen or not auto.enabled):
            await self._give_up(workspace_id, asked, "frozen", context)
            return
        stream = attempt_stream(payment)
        try:
            attempt, is_new = await self.request_payment(
                workspace_id, "auto_topup", stream, asked.amount, context
            )
        except PaymentMethodRequired:
            await self._give_up(workspace_id, asked, "no_card", context)
            return
        await self.pursue(payments, attempt, urls, context, is_new=is_new)

    async def _give_up(
        self, workspace_id: str, asked: AutoTopUpTriggered, why: Suspension, context: Context
    ) -> None:
        """Nobody was charged. Where it is switched off there is nothing to suspend."""

        def decide(account: CreditAccount) -> None:
            payment = asked.payment_attempt_id
            account.topup_ended(payment, "failed", asked.amount, context, suspend=why)

        await self.book.submit(Command((account_stream(workspace_id),), decide))


def _not_negative(**amounts: int | None) -> None:
    for name, amount in amounts.items():
        if amount is not None and amount < 0:
            raise InvalidInput((name,), "must not be negative")


def _check(
    threshold: int,
    amount: int | None,
    target: int | None,
    monthly_cap: int | None,
    least: int,
    most: int,
) -> None:
    if (amount is None) == (target is None):
        raise InvalidInput(("amount_usd",), "give either amount_usd or target_usd")
    if amount is not None and not least <= amount <= most:
        raise InvalidInput(("amount_usd",), f"must be {usd(least)} to {usd(most)}")
    if target is not None and not least <= target - threshold <= most:
        raise InvalidInput(
            ("target_usd",),
            f"must be {usd(least)} to {usd(most)} above the threshold: that is charged",
        )
    if monthly_cap is not None and monthly_cap < (amount or (target or 0) - threshold):
        raise InvalidInput(("monthly_cap_usd",), "must leave room for one charge")
