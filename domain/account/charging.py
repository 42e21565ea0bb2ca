"""Use cases of services: charge an act, take it back, price it later."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.account.charge import NOT_METERED, Charge, charge_of
from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited
from domain.account.hold_facts import HoldPlaced
from domain.account.repaid import Debt
from domain.account.spending import CycleIsOver, Spending, rolled
from domain.account.usage import Usage
from domain.account.usage_facts import Debited, UsageRated, UsageRecorded, priced_later
from domain.catalogue.catalogue import PlanCatalogue
from domain.catalogue.price_book import PriceBook
from domain.commands import Command, Done
from domain.errors import AlreadyVoided, Forbidden, HoldClosed, NotFound, UsageConflict
from domain.facts import Context, Recorded
from domain.identity import parse_usage_id
from domain.places import RATING, account_stream

ACTS = (Debited, UsageRecorded)
REPAID_WITHIN = 1_000
"""Facts after an act among which its debt's repayment is looked for: strict calls are refused until
it is repaid, so that few come between."""


class Charging(Spending):
    """What services ask of the book."""

    async def charge(self, workspace_id: str, usage: Usage, context: Context) -> Charge:
        """Charge one metered act, exactly once per ``event_id``.

        :raises PaymentRequired: nothing pays for it; nothing was recorded.
        :raises UsageConflict: the ``event_id`` was used for another act.
        :raises NotFound: no such workspace, or it never had the hold.
        """
        command = await self._command(workspace_id, usage, context)
        try:
            done = await self.in_cycle(workspace_id, context, command)
        except HoldClosed as closed:
            raise await self._closed_or_unknown(workspace_id, usage, closed) from None
        return _charged_now(done) or await self._charged_before(done, usage)

    async def charge_many(
        self, workspace_id: str, usages: Sequence[Usage], context: Context
    ) -> list[Charge | BaseException]:
        """Charge many acts of one workspace in order, each exactly once and for itself:
        a refusal stands at its act's place and stops none of the others."""
        commands = [await self._command(workspace_id, usage, context) for usage in usages]
        ends = await self.book.submit_all(commands)
        if any(isinstance(end, CycleIsOver) for end in ends):
            await self.roll_over(workspace_id, context)
            ends = await self.book.submit_all(commands)
        charges: list[Charge | BaseException] = []
        for usage, end in zip(usages, ends, strict=True):
            if isinstance(end, BaseException):
                unknown = isinstance(end, HoldClosed)
                charges.append(
                    await self._closed_or_unknown(workspace_id, usage, end) if unknown else end
                )
                continue
            try:
                charges.append(_charged_now(end) or await self._charged_before(end, usage))
            except UsageConflict as conflict:
                charges.append(conflict)
        return charges

    async def _command(self, workspace_id: str, usage: Usage, context: Context) -> Command:
        """An act as a command. One that is a fact, whatever became of its hold, says who was to
        pay for the call: that is looked up."""
        placed = None
        if usage.mode == "record" and usage.hold_id is not None:
            account = account_stream(workspace_id)
            found = await self.book.find_cause(account.id, f"hold:{usage.hold_id}")
            if found is not None and isinstance(found[0].fact, HoldPlaced):
                placed = found[0].fact
        return _charge_command(workspace_id, usage, context, placed)

    async def _closed_or_unknown(
        self, workspace_id: str, usage: Usage, closed: BaseException
    ) -> BaseException:
        """What was never placed in this workspace is not closed but unknown."""
        account = account_stream(workspace_id)
        if await self.book.find_cause(account.id, f"hold:{usage.hold_id}") is None:
            return NotFound("hold", usage.hold_id or "")
        return closed

    async def _charged_before(self, done: Done, usage: Usage) -> Charge:
        """The answer of a retry, which may need to be looked up."""
        act = _act_of(done)
        if act is None:
            return NOT_METERED
        fact, position = act.fact, done.position
        assert isinstance(fact, Debited | UsageRecorded)
        if fact.usage != usage:
            raise UsageConflict(f"event_id {usage.event_id} was already used for a different act")
        if isinstance(fact, Debited):
            balance = fact.balance_after
        else:
            balance = await self.book.balance_at(act.originator_id, act.originator_version)
        return charge_of(act, balance, position, True)

    async def void(
        self,
        workspace_id: str,
        id: str,
        context: Context,
        *,
        reason: str | None = None,
        ticket_ref: str | None = None,
        reinstate_expired: bool = False,
    ) -> Done:
        """Give back what an act drew; one of its facts is the `UsageVoided`.

        :raises NotFound: no such act in this workspace.
        :raises Forbidden: another service sent it, and whoever asks is no administrator.
        :raises AlreadyVoided: a usage is voided once.
        """
        account = account_stream(workspace_id)
        place = parse_usage_id(id)
        found = await self.book.find(*place) if place and place[0] == account.id else None
        original = found[0].fact if found else None
        if not isinstance(original, Debited | UsageRecorded) or original.usage is None:
            raise NotFound("usage", id)
        if context.actor != original.actor and not context.actor.startswith("admin:"):
            raise Forbidden("Only the service that sent an act, or an administrator, voids it.")
        usage_at = original.usage.occurred_at or original.recorded_at
        version = place[1] if place else 0
        if isinstance(original, UsageRecorded) and original.rated is None:
            original, version = await self._priced(account.id, id, original, version)
        repaid = await self._repaid(account.id, version, original)
        credited: dict[str, Credited] = {}
        for grant_id in {g for draw in original.draws for g in draw.grants} | repaid.keys():
            opened = await self.book.find(account.id, int(grant_id[1:]))
            if opened is not None and isinstance(opened[0].fact, Credited):
                credited[grant_id] = opened[0].fact

        def decide(account: CreditAccount) -> int:
            whose = (credited, repaid)
            account.void(
                id, original, usage_at, *whose, reason, ticket_ref, reinstate_expired, context
            )
            return account.balance

        done = await self.book.submit(Command((account,), decide, f"void:{id}"))
        if done.replayed:
            raise AlreadyVoided(f"{id} was voided before")
        return done

    async def _priced(
        self, stream: UUID, id: str, original: UsageRecorded, version: int
    ) -> tuple[Debited | UsageRecorded, int]:
        """An unrated act as it is now, and the version at which it was paid for: perhaps it was
        priced since."""
        rating = await self.book.find_cause(stream, f"rating:{id}")
        if rating is None or not isinstance(rating[0].fact, UsageRated):
            return original, version
        paid = await self.book.find_cause(stream, f"rated_debit:{id}")
        if paid is None:
            return priced_later(original, rating[0].fact, None), version
        debit = paid[0].fact
        assert isinstance(debit, Debited)
        return priced_later(original, rating[0].fact, debit), paid[0].originator_version

    async def _repaid(
        self, stream: UUID, version: int, act: Debited | UsageRecorded
    ) -> dict[str, int]:
        """What each grant has repaid of the debt that an act left."""
        debt = Debt(act)
        for later in range(version + 1, version + 1 + REPAID_WITHIN):
            found = await self.book.find(stream, later) if debt.left else None
            if found is None:
                break
            debt.repay(found[0].fact)
        return debt.by

    async def rate_unrated(self, workspace_id: str, id: str, context: Context) -> bool:
        """Price an act that was recorded before its model had a price; False if it still has
        none (or is rated or voided already)."""
        account = account_stream(workspace_id)
        place = parse_usage_id(id)
        found = await self.book.find(*place) if place and place[0] == account.id else None
        original = found[0].fact if found else None
        if not isinstance(original, UsageRecorded) or original.rated is not None:
            return False
        at = original.usage.occurred_at or original.recorded_at

        def decide(account: CreditAccount, plans: PlanCatalogue, prices: PriceBook) -> bool:
            in_force = prices.at(at)
            first = in_force.version if in_force else 1
            return any(
                account.rate(id, original, plans.current, book, context)
                for book in prices.versions[first - 1 :]
            )

        done = await self.book.submit(Command((account,), decide, f"rating:{id}", RATING))
        return bool(done.answer) and not done.replayed

    async def expire_credits(self, workspace_id: str, context: Context) -> Done:
        """Write off grants whose time is over; the sweeper's part, nobody waits for it."""

        def decide(account: CreditAccount) -> None:
            account.expire_credits(context)
            account.consider_topup(context)

        return await self.book.submit(Command((account_stream(workspace_id),), decide))


def _charged_now(done: Done) -> Charge | None:
    """The answer of an act that was committed just now; None for a retry's."""
    if done.replayed:
        return None
    act = _act_of(done)
    return NOT_METERED if act is None else charge_of(act, done.answer, done.position, False)


def _act_of(done: Done) -> Recorded | None:
    for recorded in done.facts:
        fact = recorded.fact
        if isinstance(fact, ACTS) and fact.usage is not None:
            return recorded
    return None


def _charge_command(
    workspace_id: str, usage: Usage, context: Context, placed: HoldPlaced | None
) -> Command:
    def decide(account: CreditAccount, plans: PlanCatalogue, prices: PriceBook) -> int:
        if not account.version:
            raise NotFound("workspace", workspace_id)
        rolled(account, context)
        account.charge(usage, plans.current, prices, context, placed)
        return account.wallet.balance

    account = account_stream(workspace_id)
    return Command((account,), decide, f"usage:{usage.event_id}", RATING)
