"""Itemised usage: one row for every metered act, with who paid and whether it was voided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection

from domain.account.usage_facts import Debited, Draw, UsageRated, UsageRecorded, UsageVoided
from domain.identity import parse_usage_id
from projections.act import parts_of
from projections.appending import OPTIONS, as_csv
from projections.read_model import Changes, Posted, ReadModel

TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid NOT NULL,               -- the account's
    position bigint NOT NULL,
    version bigint NOT NULL,            -- with the stream it makes the usage_id
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    event_id text NOT NULL,
    meter text NOT NULL,
    action text,
    mode text NOT NULL,
    llm_model text,
    provider text,
    route text NOT NULL,
    api_key_id text,
    model_username text,
    model_iam_id text,
    face_id text,
    bot_id text,
    thread_id text,
    cycle_id text,
    hold_id text,
    input_tokens integer NOT NULL,
    cached_input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    reasoning_tokens integer NOT NULL,
    units bigint NOT NULL,
    included_units bigint NOT NULL,
    overage_units bigint NOT NULL,
    absorbed_units bigint NOT NULL,
    wallet bigint NOT NULL,             -- µ, as all amounts: who paid
    overage bigint NOT NULL,
    external bigint NOT NULL,
    absorbed bigint NOT NULL,
    is_unrated boolean NOT NULL,        -- waits for a price
    late boolean NOT NULL,
    provider_cost bigint,               -- what the price book asks, whoever pays
    markup bigint,
    total_cost bigint,
    price_book_version integer,
    balance_after bigint,               -- where wallet money moved
    voided_at bigint                    -- the position of its void
);
CREATE UNIQUE INDEX IF NOT EXISTS {table}_place ON {table} (stream, position);
CREATE INDEX IF NOT EXISTS {table}_order ON {table} USING brin (position)
    WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX IF NOT EXISTS {table}_unrated ON {table} (position) WHERE is_unrated
"""
COLUMNS = (
    *("stream", "position", "version", "occurred_at", "recorded_at", "event_id"),
    *("meter", "action", "mode", "llm_model", "provider", "route", "api_key_id"),
    *("model_username", "model_iam_id", "face_id", "bot_id", "thread_id", "cycle_id", "hold_id"),
    *("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "units"),
    *("late", "balance_after"),
    *("included_units", "overage_units", "absorbed_units"),
    *("wallet", "overage", "external", "absorbed", "is_unrated"),
    *("provider_cost", "markup", "total_cost", "price_book_version"),
)
COPY = f"COPY {{usage_events}} ({', '.join(COLUMNS)}) FROM STDIN {OPTIONS}"
# The act stands at a place in its stream; the event table knows the position of that place.
RATED = """
    UPDATE {usage_events} act
    SET is_unrated = false, provider_cost = new.provider_cost, markup = new.markup,
        total_cost = new.total, price_book_version = new.book,
        absorbed = act.absorbed + new.absorbed
    FROM unnest(%b::uuid[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::int[],
                %b::bigint[])
         AS new (stream, version, provider_cost, markup, total, book, absorbed)
    JOIN events e ON e.originator_id = new.stream AND e.originator_version = new.version
    WHERE act.stream = new.stream AND act.position = e.notification_id
"""
PAID = """
    UPDATE {usage_events} act SET wallet = new.amount, balance_after = new.balance
    FROM unnest(%b::uuid[], %b::bigint[], %b::bigint[], %b::bigint[])
         AS new (stream, version, amount, balance)
    JOIN events e ON e.originator_id = new.stream AND e.originator_version = new.version
    WHERE act.stream = new.stream AND act.position = e.notification_id
"""
VOIDED = """
    UPDATE {usage_events} act SET voided_at = new.position, is_unrated = false
    FROM unnest(%b::uuid[], %b::bigint[], %b::bigint[]) AS new (stream, version, position)
    JOIN events e ON e.originator_id = new.stream AND e.originator_version = new.version
    WHERE act.stream = new.stream AND act.position = e.notification_id
"""
REMEMBERED = 50_000
NO_PRICE = (None, None, None, None)


class UsageEvents(ReadModel):
    """The itemised history. Rows are appended by one COPY a batch, without a call a value."""

    name = "usage_events"
    facts = (Debited, UsageRecorded, UsageRated, UsageVoided)
    tables = {"usage_events": TABLE}

    def __init__(self, suffix: str = "") -> None:
        super().__init__(suffix)
        self._streams: dict[int, str] = {}
        self._changes = [(self.sql(statement)) for statement in (RATED, PAID, VOIDED)]
        self._copy = self.sql(COPY)

    def nothing(self) -> Changes:
        """Lines to append, then rows of RATED, PAID and VOIDED."""
        return [], [], [], []

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """A line for every act; the rest changes earlier ones, or such of the same batch."""
        lines, rated, paid, voided = changes
        rows: list[tuple[Any, ...]] = []
        for position, stream, version, fact in events:
            if isinstance(fact, Debited):
                if fact.usage is not None:
                    rows.append(self._row(position, stream, version, fact))
                elif fact.rates_usage_id is not None:
                    paid.append((*_place(fact.rates_usage_id), fact.amount, fact.balance_after))
            elif isinstance(fact, UsageRecorded):
                rows.append(self._row(position, stream, version, fact))
            elif isinstance(fact, UsageVoided):
                voided.append((*_place(fact.usage_id), position))
            elif isinstance(fact, UsageRated):
                price = fact.rated
                rated.append(
                    (
                        *_place(fact.usage_id),
                        *(price.provider_cost, price.markup, price.total, price.book),
                        parts_of(fact.draws).absorbed,
                    )
                )
        if rows:
            lines.append(as_csv(rows))

    def write(self, connection: Connection, changes: Changes) -> None:
        """Append the acts, then complete or mark those that later facts are about."""
        lines, *later = changes
        if lines:
            with connection.cursor().copy(self._copy) as copy:
                copy.write(b"".join(lines))
        for statement, rows in zip(self._changes, later, strict=True):
            if rows:
                columns = [list(column) for column in zip(*sorted(rows), strict=True)]
                connection.execute(statement, columns, prepare=True)

    def _row(
        self, position: int, stream: UUID, version: int, fact: Debited | UsageRecorded
    ) -> tuple[Any, ...]:
        """An act in the order of `COLUMNS`."""
        usage, rated = fact.usage, fact.rated
        assert usage is not None
        tokens = usage.tokens
        paid: tuple[int | bool, ...]
        if isinstance(fact, Debited):
            balance_after: int | None = fact.balance_after
            # Nearly every debit is paid by the wallet alone.
            paid = (
                _paid(fact.draws, False)
                if fact.other_draws
                else (0, 0, 0, fact.amount, 0, 0, 0, False)
            )
        else:
            balance_after = None
            # A meter that has no prices draws units; what no draw paid for waits for a price.
            paid = _paid(fact.draws, fact.is_unrated)
        return (
            self._streams.get(stream.int) or self._stream(stream),
            position,
            version,
            usage.occurred_at or fact.recorded_at,
            fact.recorded_at,
            usage.event_id,
            usage.meter,
            usage.action,
            usage.mode,
            usage.llm_model,
            usage.provider,
            usage.route,
            usage.api_key_id,
            usage.model_username,
            usage.model_iam_id,
            usage.face_id,
            usage.bot_id,
            usage.thread_id,
            fact.cycle_id,
            usage.hold_id,
            tokens.input,
            tokens.cached_input,
            tokens.output,
            tokens.reasoning,
            fact.units,
            fact.late,
            balance_after,
            *paid,
            *(
                NO_PRICE
                if rated is None
                else (
                    rated.provider_cost,
                    rated.total - rated.provider_cost,
                    rated.total,
                    rated.book,
                )
            ),
        )

    def _stream(self, stream: UUID) -> str:
        if len(self._streams) >= REMEMBERED:
            self._streams.clear()
        text = self._streams[stream.int] = str(stream)
        return text


def _paid(draws: tuple[Draw, ...], unrated: bool) -> tuple[int | bool, ...]:
    part = parts_of(draws)
    return (
        *(part.included_units, part.overage_units, part.absorbed_units),
        *(part.wallet, part.overage, part.external, part.absorbed, unrated),
    )


def _place(usage_id: str) -> tuple[UUID, int]:
    place = parse_usage_id(usage_id)
    if place is None:
        raise ValueError(f"{usage_id} is no usage_id")
    return place
