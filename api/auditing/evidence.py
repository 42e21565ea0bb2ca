"""What stands around one act in the book: the policy and the hold that allowed it, the cycle and
the invoice it went to, what paid for it, and how its hash leads to a signed checkpoint."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from api.auditing.explanation import Explanation
from domain.account.credit_facts import Credited, SpendPolicySet
from domain.account.hold_facts import HoldPlaced
from domain.account.topup_facts import AutoTopUpTriggered
from domain.chain import GENESIS, Checkpoint
from domain.codec import decode_fact
from domain.facts import Fact
from domain.identity import account_id, parse_usage_id
from domain.invoice.invoicing import OTHER_BOTS, REPORTED_LATE
from domain.payment.facts import attempt_stream
from projections.audit_trail import SEALED
from projections.event_hash import COLUMNS, Row, hashed

EVENTS = f"SELECT {COLUMNS} FROM events WHERE originator_id = %s"  # noqa: S608 - names of ours
AT = f"{EVENTS} AND originator_version = ANY(%s::bigint[]) ORDER BY originator_version"
POLICY = (
    f"{EVENTS} AND kind = 'SpendPolicySet' AND originator_version < %s"
    " ORDER BY originator_version DESC LIMIT 1"
)
OF_CAUSE = f"{EVENTS} AND cause = ANY(%s::text[]) ORDER BY originator_version"
OF_PAYMENT = (
    f"{EVENTS} AND kind IN ('PaymentRequested', 'PaymentSucceeded', 'PaymentFailed')"
    " ORDER BY originator_version"
)
BEFORE = "SELECT chain_hash FROM audit_trail WHERE position < %s ORDER BY position DESC LIMIT 1"
PATH = """
    SELECT position, event_hash FROM audit_trail WHERE position BETWEEN %s AND %s ORDER BY position
"""
SEALING = f"{SEALED} WHERE position >= %s ORDER BY position LIMIT 1"
LINES = """
    SELECT i.id, i.number, i.status, l.line_id, l.description, l.bot_id, l.quantity,
           l.unit_amount, l.amount, l.position
    FROM invoice_lines l JOIN invoices i USING (stream)
    WHERE i.workspace_id = %s AND l.kind = 'overage' AND l.cycle_id = ANY(%s::text[])
      AND l.unit_amount = ANY(%s::bigint[])
      AND (l.bot_id IS NULL OR l.bot_id = %s::text)
    ORDER BY l.position
"""


class Policy(msgspec.Struct, frozen=True):
    """What the plan allowed, as the account knew it when the act was let in."""

    policy_version: int
    plan: str
    plan_version: int
    waterfall: list[str]
    overage_enabled: bool
    position: int


class CycleView(msgspec.Struct, frozen=True):
    """The billing cycle that ran."""

    cycle_id: str
    period_start: datetime
    period_end: datetime


class HoldView(msgspec.Struct, frozen=True):
    """The hold that the act settled."""

    hold_id: str
    route: str
    amount_micros: int
    units: int
    policy_version: int
    placed_at: datetime
    expires_at: datetime
    position: int


class InvoiceLineView(msgspec.Struct, frozen=True):
    """The line of an invoice on which the act's overage was billed: that of its bot, or that of
    other bots where an invoice has not room for each. It has what the cycle's other acts cost."""

    invoice_id: str
    number: str | None
    status: str
    line_id: str
    description: str
    bot_id: str | None
    quantity: int
    unit_price_micros: int | None
    amount_minor: int
    position: int


class Step(msgspec.Struct, frozen=True):
    """One link of cause and effect. `step`: api_key, hold, usage, debit, credit (that was drawn
    from), topup (that followed, or that had paid for the credit)."""

    step: str
    ref: str
    type: str | None = None
    cause: str | None = None
    recorded_at: datetime | None = None
    stream_id: str | None = None
    version: int | None = None
    position: int | None = None
    event_hash: str | None = None


class PathStep(msgspec.Struct, frozen=True):
    """An event's hash on the way to the checkpoint; hexadecimal."""

    position: int
    event_hash: str


class Signed(msgspec.Struct, frozen=True):
    """The checkpoint at the path's end."""

    position: int
    chain_hash: str
    at: str
    key_id: str
    signature: str


class Inclusion(msgspec.Struct, frozen=True):
    """How the act's event leads to the next signed checkpoint: from `chain_hash_before`, take
    SHA-256(hash || event_hash) for each step of `path`; the end is the checkpoint's `chain_hash`.
    `checkpoint` is null while none was signed since; then the path is the event alone."""

    chain_hash_before: str
    path: list[PathStep]
    checkpoint: Signed | None


class Evidence(msgspec.Struct, frozen=True):
    """All of it. ``inclusion`` is None until the event is chained, moments after its commit."""

    event_hash: str
    policy: Policy | None
    cycle: CycleView | None
    hold: HoldView | None
    invoice_lines: list[InvoiceLineView]
    causation: list[Step]
    inclusion: Inclusion | None


async def evidence(
    connection: AsyncConnection[Any], workspace_id: str, told: Explanation
) -> Evidence:
    """What the book has around an act. Invoice lines come from a read model."""
    stream = account_id(workspace_id)
    act = parse_usage_id(told.usage_id)
    assert act is not None
    (acted,) = await _rows(connection, AT, stream, [act[1]])
    paid = acted
    if told.version != act[1]:
        (paid,) = await _rows(connection, AT, stream, [told.version])
    placed = await _hold(connection, stream, told)
    policy = await _policy(connection, stream, placed[0][2] if placed else act[1])
    return Evidence(
        hashed(acted).event_hash.hex(),
        None if policy is None else _policy_view(*policy, told.usage.meter),
        None if policy is None else _cycle(policy[1]),
        None if placed is None else _hold_view(*placed),
        await _invoice_lines(connection, workspace_id, told, policy),
        await _causation(connection, stream, told, [*placed[:1]] if placed else [], acted, paid),
        await _inclusion(connection, acted[0]),
    )


async def event_hash(connection: AsyncConnection[Any], stream: UUID, version: int) -> str:
    """The hash of the event at a place, in hexadecimal."""
    (row,) = await _rows(connection, AT, stream, [version])
    return hashed(row).event_hash.hex()


async def _rows(connection: AsyncConnection[Any], query: str, *values: object) -> list[Row]:
    cursor = await connection.execute(query.encode(), values)
    return [_bytes(row) for row in await cursor.fetchall()]


def _bytes(row: Any) -> Row:
    return (*row[:1], bytes(row[1]), *row[2:4], bytes(row[4]), *row[5:])


def _fact(row: Row) -> Fact:
    return decode_fact(row[3], row[4])


async def _hold(
    connection: AsyncConnection[Any], stream: UUID, told: Explanation
) -> tuple[Row, HoldPlaced] | None:
    if told.usage.hold_id is None:
        return None
    for row in await _rows(connection, OF_CAUSE, stream, [f"hold:{told.usage.hold_id}"]):
        fact = _fact(row)
        if isinstance(fact, HoldPlaced):
            return row, fact
    return None


def _hold_view(row: Row, placed: HoldPlaced) -> HoldView:
    return HoldView(
        placed.hold_id,
        placed.route,
        placed.amount,
        placed.units,
        placed.policy_version,
        placed.recorded_at,
        placed.expires_at,
        row[0],
    )


async def _policy(
    connection: AsyncConnection[Any], stream: UUID, version: int
) -> tuple[Row, SpendPolicySet] | None:
    """The policy that an account had when it decided an event."""
    for row in await _rows(connection, POLICY, stream, version):
        fact = _fact(row)
        if isinstance(fact, SpendPolicySet):
            return row, fact
    return None


def _policy_view(row: Row, policy: SpendPolicySet, meter: str) -> Policy:
    return Policy(
        policy.policy_version,
        policy.plan_id,
        policy.plan_version,
        list(policy.waterfalls.get(meter, ())),
        policy.overage_enabled,
        row[0],
    )


def _cycle(policy: SpendPolicySet) -> CycleView:
    return CycleView(policy.cycle_id, policy.period_start, policy.period_end)


async def _invoice_lines(
    connection: AsyncConnection[Any],
    workspace_id: str,
    told: Explanation,
    policy: tuple[Row, SpendPolicySet] | None,
) -> list[InvoiceLineView]:
    running = told.cycle_id or (policy[1].cycle_id if policy else None)
    cycles = [
        cycle
        for draw in told.draws
        if draw.source == "overage" and (cycle := draw.cycle_id or running)
    ]
    if not cycles:
        return []
    prices = [draw.unit_price for draw in told.draws if draw.source == "overage"]
    bot = told.usage.bot_id
    cursor = await connection.execute(LINES, (workspace_id, cycles, prices, bot))
    lines = [InvoiceLineView(*row) for row in await cursor.fetchall()]
    alike = [one for one in lines if one.description.endswith(REPORTED_LATE) is told.late]
    of_all = [one for one in alike if one.bot_id is None and OTHER_BOTS in one.description]
    own = [one for one in alike if one.bot_id == bot and one not in of_all]
    return own or of_all


async def _causation(
    connection: AsyncConnection[Any],
    stream: UUID,
    told: Explanation,
    placed: Sequence[Row],
    acted: Row,
    paid: Row,
) -> list[Step]:
    """From the key that asked, over the hold, to the act and what paid for it; then the charge of
    the card that it caused, where the balance fell too low."""
    key = told.usage.api_key_id or told.actor
    steps = [Step("api_key", key), *(_step("hold", row) for row in placed)]
    steps.append(_step("usage", acted, told.usage_id))
    if told.charged:
        steps.append(_step("debit", paid))
    grants = {grant_id for draw in told.draws for grant_id in draw.grants}
    versions = sorted(int(one[1:]) for one in grants if one[1:].isdecimal())
    for row in await _rows(connection, AT, stream, versions):
        steps.append(_step("credit", row))
        fact = _fact(row)
        if isinstance(fact, Credited) and fact.payment_attempt_id is not None:
            steps += await _topup(connection, fact.payment_attempt_id)
    for row in await _rows(connection, AT, stream, [paid[2] + 1]):
        fact = _fact(row)
        if isinstance(fact, AutoTopUpTriggered) and fact.recorded_at == _fact(paid).recorded_at:
            steps.append(_step("topup", row, fact.payment_attempt_id))
            steps += await _topup(connection, fact.payment_attempt_id)
    return steps


async def _topup(connection: AsyncConnection[Any], attempt: str) -> list[Step]:
    rows = await _rows(connection, OF_PAYMENT, attempt_stream(attempt))
    return [_step("topup", row, attempt) for row in rows]


def _step(name: str, row: Row, ref: str | None = None) -> Step:
    fact = _fact(row)
    return Step(
        name,
        ref or fact.unique_cause(),
        row[3].rpartition(":")[2],
        fact.unique_cause(),
        fact.recorded_at,
        str(UUID(bytes=row[1])),
        row[2],
        row[0],
        hashed(row).event_hash.hex(),
    )


async def _inclusion(connection: AsyncConnection[Any], position: int) -> Inclusion | None:
    sealed = await (await connection.execute(SEALING.encode(), (position,))).fetchone()
    end = Checkpoint(*sealed) if sealed is not None else None
    upto = end.position if end is not None else position
    rows = await (await connection.execute(PATH, (position, upto))).fetchall()
    if not rows or rows[0][0] != position:
        return None
    before = await (await connection.execute(BEFORE, (position,))).fetchone()
    return Inclusion(
        bytes(before[0] if before else GENESIS).hex(),
        [PathStep(place, bytes(event_hash).hex()) for place, event_hash in rows],
        None if end is None else _signed(end),
    )


def _signed(sealed: Checkpoint) -> Signed:
    return Signed(
        sealed.position,
        bytes(sealed.chain_hash).hex(),
        sealed.stamp,
        sealed.key_id,
        b64encode(bytes(sealed.signature)).decode(),
    )
