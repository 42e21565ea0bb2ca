"""A call to a model from its authorisation to its end: charged for what was generated, or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4, uuid5

import msgspec
import structlog

from adapters.upstream import Upstream, UpstreamError, tokens_of
from api.call import Call
from api.refusals import UpstreamFailed
from domain.account.budget import Reached
from domain.account.charge import Charge, charge_of
from domain.account.hold_facts import BillingSource, HoldPlaced, Labels, Release
from domain.account.usage import Tokens, Usage
from domain.errors import (
    HoldClosed,
    InvalidInput,
    NotFound,
    PaymentRequired,
    Refusal,
    TryAgain,
    UnknownModel,
    UsageConflict,
)
from domain.identity import NAMESPACE, account_id

TTL = timedelta(minutes=15)
LOOK_S = 1.0
"""How often a stream looks whether its hold has to be extended."""
PATIENCE_S = 30.0
"""How long a settlement is tried again where the ledger cannot answer."""
OUTPUT_DEFAULT = 4_096
MESSAGE_OVERHEAD = 16  # tokens of a message beside its text
COUNT_MAX = 1_000_000_000
LABEL_MAX = 255

log = structlog.get_logger("daybook.gateway")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be run: ``body`` goes to the provider as it is."""

    meter: str
    action: str | None
    labels: Labels
    body: dict[str, Any]
    output_max: int
    source: BillingSource | None = None

    @property
    def estimate(self) -> Tokens:
        """Bounds for input and output, in tokens: a token is rarely shorter than two bytes."""
        messages = self.body.get("messages") or []
        size = len(msgspec.json.encode([messages, self.body.get("tools")]))
        bound = size // 2 + MESSAGE_OVERHEAD * (len(messages) + 1)
        return Tokens(min(bound, COUNT_MAX), 0, min(self.output_max, COUNT_MAX))

    def counted(self, output: int) -> Tokens:
        """Tokens by our own count, where the provider does not say: four bytes each."""
        size = len(msgspec.json.encode(self.body.get("messages")))
        return Tokens(min(size // 4 + 1, COUNT_MAX), 0, min(output, COUNT_MAX))


class Metered:
    """A call that may run: its hold stands until it is settled or released.

    It is charged under the name of the client's ``key``: even where a process died after the
    charge and before the answer, the same request is not charged again.
    """

    def __init__(
        self, call: Call, ask: Ask, hold: HoldPlaced, key: str, budgets: tuple[Reached, ...]
    ) -> None:
        name = f"gateway/{call.workspace_id}/{call.request.url.path}/{key}"
        self._event_id = f"gateway:{uuid5(NAMESPACE, name).hex}"
        self.hold_id = hold.hold_id
        self.as_user = hold.route == "oauth"
        self.budgets = budgets
        """Those that were spent before the call began."""
        self._call = call
        self._ask = ask
        self._expires_at: datetime = hold.expires_at
        self._looked = time.monotonic()
        self._end: asyncio.Task[Charge | None] | None = None

    async def extend(self) -> None:
        """Keep the hold alive while tokens flow."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        context = await self._call.context()
        if context.now < self._expires_at - TTL / 2:
            return
        ledger = self._call.house.ledger
        try:
            done = await ledger.extend_hold(self._call.workspace_id, self.hold_id, TTL, context)
            self._expires_at = done.answer
        except (HoldClosed, TryAgain) as refusal:  # what was consumed is charged all the same
            log.warning("hold_not_extended", hold=self.hold_id, reason=refusal.code)

    async def settle(self, tokens: Tokens) -> Charge | None:
        """Charge what was generated, once, even if whoever waits for it goes away. None where
        the call was ended without a charge before."""
        return await self._finish(self._settle(tokens))

    async def release(self, reason: Release) -> None:
        """End the call without a charge."""
        await self._finish(self._release(reason))

    async def _finish(self, end: Any) -> Charge | None:
        if self._end is None:
            self._end = asyncio.create_task(end)
        else:
            end.close()
        return await asyncio.shield(self._end)

    async def _settle(self, tokens: Tokens) -> Charge:
        ask, labels = self._ask, self._ask.labels
        usage = Usage(
            event_id=self._event_id,
            meter=ask.meter,
            action=ask.action,
            tokens=tokens,
            hold_id=self.hold_id,
            route="oauth" if self.as_user else "metered",
            llm_model=labels.llm_model,
            provider=labels.provider,
            api_key_id=labels.api_key_id,
            model_username=labels.model_username,
            face_id=labels.face_id,
            bot_id=labels.bot_id,
            thread_id=labels.thread_id,
        )
        until = time.monotonic() + PATIENCE_S
        wait = 0.05
        while True:
            try:
                context = await self._call.context()
                return await self._call.house.ledger.charge(self._call.workspace_id, usage, context)
            except HoldClosed:
                # It expired while the provider worked. The tokens are consumed all the same.
                if usage.mode == "record":
                    raise
                usage = msgspec.structs.replace(usage, mode="record")
            except UsageConflict:
                await self._release("voided")
                return await self._charged_before()
            except TryAgain:
                if time.monotonic() > until:
                    log.error("call_not_charged", hold=self.hold_id, tokens=str(tokens))
                    raise
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0)

    async def _charged_before(self) -> Charge:
        """What a process charged for this key that died before it could answer."""
        book = self._call.house.ledger.book
        found = await book.find_cause(
            account_id(self._call.workspace_id), f"usage:{self._event_id}"
        )
        assert found is not None  # it is what we are in conflict with
        recorded, position = found
        place = recorded.originator_id, recorded.originator_version
        return charge_of(recorded, await book.balance_at(*place), position, True)

    async def _release(self, reason: Release) -> None:
        try:
            await self._call.house.ledger.release_hold(
                self._call.workspace_id, self.hold_id, reason, await self._call.context()
            )
        except Refusal as refusal:  # it is over, or will be by itself
            log.warning("hold_not_released", hold=self.hold_id, reason=refusal.code)


async def begin(call: Call, ask: Ask, key: str) -> Metered:
    """Let a call run, which is charged once for each ``key`` of a workspace and path.

    :raises PaymentRequired: nobody would pay for it.
    :raises UnknownModel: no price is in force for the model.
    """
    try:
        done = await call.house.ledger.authorize(
            call.workspace_id,
            f"hold_{uuid4().hex}",
            ask.meter,
            ask.estimate,
            ask.labels,
            await call.context(),
            source=ask.source,
            ttl=TTL,
        )
    except PaymentRequired as refusal:
        call.house.receipts.note(call.workspace_id, refusal)
        raise
    except UnknownModel as refusal:
        if refusal.loc == ("llm_model",):
            raise
        # OpenAI's request has no field for it, and there is one upstream.
        raise UnknownModel(
            ("model",), f"{refusal.message}, in UPSTREAM_PROVIDER of this deployment"
        ) from None
    hold = next(r.fact for r in done.facts if isinstance(r.fact, HoldPlaced))
    return Metered(call, ask, hold, key, done.answer.budgets)


async def run(call: Call, ask: Ask, key: str) -> tuple[dict[str, Any], Charge]:
    """A whole answer of the provider, charged once for the ``key``; it is never made up.

    :raises PaymentRequired: nobody would pay for it.
    :raises UpstreamFailed: the provider failed; nothing was charged.
    """
    upstream = upstream_of(call)
    metered = await begin(call, ask, key)
    try:
        answer = await upstream.complete(ask.body, as_user=metered.as_user)
    except UpstreamError as error:
        await metered.release("upstream_failed")
        raise failed(error) from None
    except BaseException:
        await metered.release("client_cancelled")
        raise
    tokens = tokens_of(answer.get("usage"))
    if tokens is None:
        tokens = ask.counted(len(msgspec.json.encode(answer["choices"])) // 4)
    charge = await metered.settle(tokens)
    assert charge is not None  # nobody else has the call
    return answer, charge


def label(text: str | None, *loc: str) -> str | None:
    """A label that comes as free text. What is too long for a fact must be refused before it is
    one: nobody could read it any more.

    :raises InvalidInput: empty, or longer than 255 characters; ``loc`` is where it stands.
    """
    if text is not None and not 1 <= len(text) <= LABEL_MAX:
        raise InvalidInput(loc, f"must be 1 to {LABEL_MAX} characters")
    return text


def spent(budgets: Iterable[Reached]) -> dict[str, str]:
    """A header that names budgets which are spent; none where none is."""
    names = ", ".join(quote(budget.budget_id) for budget in budgets)
    return {"X-Daybook-Budget-Warning": names} if names else {}


def failed(error: UpstreamError) -> UpstreamFailed:
    """The refusal that a failure of the provider is."""
    return UpstreamFailed(str(error), error.status, error.is_callers, error.retry_after or 1)


def provider_of(call: Call) -> str | None:
    """Whose prices are in force for what the upstream does; None: a model has only one price."""
    return call.house.settings.upstream_provider or None


def upstream_of(call: Call) -> Upstream:
    """The provider of this deployment.

    :raises NotFound: it has none; UPSTREAM_URL names one.
    """
    upstream = call.house.upstream
    if upstream is None:
        raise NotFound("provider", "of models")
    return upstream
