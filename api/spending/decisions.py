"""`GET /v1/usage/decisions/{id}`: why a call was admitted or refused."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapters.postgres import decisions
from api.call import Call, answer, enter
from api.openapi import documented, path_parameter
from api.spending.receipts import sources
from domain.account.ask import Ask
from domain.account.credit_account import CreditAccount
from domain.account.hold_facts import ONLY, HoldPlaced
from domain.account.usage_facts import Debited, UsageRecorded
from domain.errors import NotFound
from domain.facts import Recorded
from domain.identity import parse_usage_id
from domain.places import account_stream

router = APIRouter(prefix="/v1/usage/decisions", tags=["usage"])


class Paid(msgspec.Struct, frozen=True):
    """One source's part: µ, and units of a bucket."""

    source: str
    amount_micros: int
    units: int


class Decision(msgspec.Struct, frozen=True):
    """A decision and what it was taken on: the account right before it. `rule` is the entry
    rule that decided, `billing_source` where one was asked for, `hold` for an act that settles
    one, `record` for one that may not be refused. Each source had µ, units, µ a unit, or 1 for
    a link that works."""

    decision_id: str
    outcome: str
    code: str | None
    detail: str
    at: datetime
    stream: str
    stream_version: int
    policy_version: int
    plan: str
    meter: str
    rule: str
    sources: list[dict[str, str | int]]
    funding: list[Paid] = []
    position: int | None = None


_kept = msgspec.json.Decoder(Decision)


@router.get(
    "/{decision_id}",
    **documented(
        "Why a call may run, or may not",
        "billing:read",
        answers={200: Decision},
        parameters=[path_parameter("decision_id", "dec_…, use_… or hold_…")],
    ),
)
async def decision(request: Request) -> Response:
    """A refusal by the `decision_id` of its 402 (a sample of the latest is kept), an admission
    by its `usage_id` or `hold_id` (made again from the facts, for ever)."""
    call = await enter(request, "billing:read")
    id = request.path_params["decision_id"]
    if id.startswith("dec_"):
        kept = await call.house.receipts.find(call.workspace_id, id)
        if kept is not None:
            return answer(_kept.decode(kept))
    found = await _event(call, id)
    if found is None:
        raise NotFound("decision", id)
    recorded, position = found
    stream = account_stream(call.workspace_id)
    version = recorded.originator_version
    async with call.house.pool.connection() as connection:
        account = await decisions.before(connection, stream, version)
    assert isinstance(account, CreditAccount)
    fact = recorded.fact
    if isinstance(fact, HoldPlaced):
        return answer(await _of_hold(call, id, account, fact, position))
    assert isinstance(fact, Debited | UsageRecorded)
    return answer(await _of_act(call, id, account, fact, position))


async def _event(call: Call, id: str) -> tuple[Recorded, int] | None:
    book, stream = call.house.ledger.book, account_stream(call.workspace_id).id
    place = parse_usage_id(id)
    if place is None:
        return await book.find_cause(stream, f"hold:{id}")
    found = await book.find(*place) if place[0] == stream else None
    if found is not None:
        fact = found[0].fact
        if isinstance(fact, Debited | UsageRecorded) and fact.usage is not None:
            return found
    return None


async def _of_hold(
    call: Call, id: str, account: CreditAccount, fact: HoldPlaced, position: int
) -> Decision:
    catalogue = (await call.house.ledger.plans()).current
    meter, policy = catalogue.meters[fact.meter], account.policy
    assert policy is not None
    at = fact.recorded_at
    only = ONLY[fact.source]
    ask = Ask(account, fact.meter, meter, policy, catalogue, at, at, fact.request, only=only)
    return Decision(
        id,
        "admitted",
        None,
        f"The source {fact.route} may pay.",
        at,
        f"credit_account/{call.workspace_id}",
        account.version,
        fact.policy_version,
        policy.plan_id,
        fact.meter,
        meter.entry_rule if fact.source is None else "billing_source",
        sources(ask.looked_at()),
        [Paid(fact.route, fact.amount, fact.units)],
        position,
    )


async def _of_act(
    call: Call, id: str, account: CreditAccount, fact: Debited | UsageRecorded, position: int
) -> Decision:
    catalogue = (await call.house.ledger.plans()).current
    usage, policy = fact.usage, account.policy
    assert usage is not None
    assert policy is not None
    meter = catalogue.meters[usage.meter]
    hold = account.holds.get(usage.hold_id or "")
    at = fact.recorded_at
    strict = usage.mode == "strict"
    occurred = usage.occurred_at or at
    only = ONLY[hold.source] if hold is not None else None
    acts = (account, usage.meter, meter, policy, catalogue, at, occurred, usage)
    ask = Ask(*acts, strict, hold, only)
    rule = "hold" if hold is not None else meter.entry_rule if strict else "record"
    return Decision(
        id,
        "admitted",
        None,
        f"Paid by {', '.join(draw.source for draw in fact.draws) or 'nobody'}.",
        at,
        f"credit_account/{call.workspace_id}",
        account.version,
        policy.policy_version,
        policy.plan_id,
        usage.meter,
        rule,
        sources(ask.looked_at()),
        [Paid(draw.source, draw.amount, draw.units) for draw in fact.draws],
        position,
    )
