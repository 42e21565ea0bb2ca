"""Itemised usage: one row for every metered act, with who paid and whether it was voided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection

from domain.account_facts import Debited, UsageRated, UsageRecorded, UsageVoided
from domain.identity import parse_usage_id
from domain.usage import Usage
from projections.act import parts_of
from projections.read_model import Posted, ReadModel

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
LABELS = (
    "meter",
    "action",
    "mode",
    "llm_model",
    "provider",
    "route",
    "api_key_id",
    "model_username",
    "model_iam_id",
    "face_id",
    "bot_id",
    "thread_id",
)
COLUMNS = (
    *("stream", "position", "version", "occurred_at", "recorded_at", "event_id"),
    *LABELS,
    *("cycle_id", "hold_id"),
    *("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"),
    *("units", "included_units", "overage_units", "absorbed_units"),
    *("wallet", "overage", "external", "absorbed", "is_unrated", "late"),
    *("provider_cost", "markup", "total_cost", "price_book_version", "balance_after"),
)
COPY = f"COPY {{usage_events}} ({', '.join(COLUMNS)}) FROM STDIN"
# The act stands at a place in its stream; the event table knows the position of that place.
RATED = """
    UPDATE {usage_events} act
    SET is_unrated = false, provider_cost = new.provider_cost, markup = new.markup,
        total_cost = new.total, price_book_version = new.book
    FROM unnest(%b::uuid[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::int[])
         AS new (stream, version, provider_cost, markup, total, book)
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
NULL = "\\N"
NOTHING = "0\t0\t0\t"  # included, overage and absorbed units of an act that the wallet paid
NOBODY = "\t0\t0\t0\tf\t"  # overage, external and absorbed µ of such an act, and that it is rated
REMEMBERED = 50_000


class UsageEvents(ReadModel):
    """The itemised history. Rows are appended as text: nothing per value in Python."""

    name = "usage_events"
    facts = (Debited, UsageRecorded, UsageRated, UsageVoided)
    tables = {"usage_events": TABLE}

    def __init__(self, suffix: str = "") -> None:
        super().__init__(suffix)
        self._labels: dict[tuple[str | None, ...], str] = {}
        self._streams: dict[int, str] = {}
        self._changes = [(self.sql(statement)) for statement in (RATED, PAID, VOIDED)]
        self._copy = self.sql(COPY)

    def fold(self, events: Sequence[Posted]) -> Any:
        """(lines to append, then rows of RATED, PAID and VOIDED)."""
        lines: list[str] = []
        rated: list[tuple[Any, ...]] = []
        paid: list[tuple[Any, ...]] = []
        voided: list[tuple[Any, ...]] = []
        for position, stream, version, fact in events:
            if isinstance(fact, Debited):
                if fact.usage is not None:
                    lines.append(self._line(position, stream, version, fact))
                elif fact.rates_usage_id is not None:
                    paid.append((*_place(fact.rates_usage_id), fact.amount, fact.balance_after))
            elif isinstance(fact, UsageRecorded):
                lines.append(self._line(position, stream, version, fact))
            elif isinstance(fact, UsageVoided):
                voided.append((*_place(fact.usage_id), position))
            elif isinstance(fact, UsageRated):
                price = fact.rated
                rated.append(
                    (
                        *_place(fact.usage_id),
                        *(price.provider_cost, price.markup, price.total, price.book),
                    )
                )
        return (lines, rated, paid, voided) if lines or rated or paid or voided else None

    def write(self, connection: Connection, changes: Any) -> None:
        """Append the acts, then complete or mark those that later facts are about."""
        lines, *later = changes
        if lines:
            with connection.cursor().copy(self._copy) as copy:
                copy.write("".join(lines))
        for statement, rows in zip(self._changes, later, strict=True):
            if rows:
                columns = [list(column) for column in zip(*sorted(rows), strict=True)]
                connection.execute(statement, columns, prepare=True)

    def _line(
        self, position: int, stream: UUID, version: int, fact: Debited | UsageRecorded
    ) -> str:
        usage, rated = fact.usage, fact.rated
        assert usage is not None
        tokens = usage.tokens
        recorded = fact.recorded_at.isoformat()
        at = usage.occurred_at
        head = (
            f"{self._streams.get(stream.int) or self._stream(stream)}\t{position}\t{version}\t"
            f"{recorded if at is None else at.isoformat()}\t{recorded}\t"
            f"{_escaped(usage.event_id)}\t{self._labels_of(usage)}\t"
            f"{NULL if fact.cycle_id is None else _escaped(fact.cycle_id)}\t"
            f"{NULL if usage.hold_id is None else _escaped(usage.hold_id)}\t"
            f"{tokens.input}\t{tokens.cached_input}\t{tokens.output}\t{tokens.reasoning}\t"
            f"{fact.units}\t"
        )
        price = (
            f"{'t' if fact.late else 'f'}\t\\N\t\\N\t\\N\t\\N\t"
            if rated is None
            else f"{'t' if fact.late else 'f'}\t{rated.provider_cost}\t"
            f"{rated.total - rated.provider_cost}\t{rated.total}\t{rated.book}\t"
        )
        if isinstance(fact, Debited):
            if not fact.other_draws:
                return f"{head}{NOTHING}{fact.amount}{NOBODY}{price}{fact.balance_after}\n"
            balance = str(fact.balance_after)
        else:
            balance = NULL
        part = parts_of(fact.draws)
        # A meter that is not rated always draws units; an act that drew nothing has no price yet.
        unrated = "t" if rated is None and not fact.draws else "f"
        return (
            f"{head}{part.included_units}\t{part.overage_units}\t{part.absorbed_units}\t"
            f"{part.wallet}\t{part.overage}\t{part.external}\t{part.absorbed}\t"
            f"{unrated}\t{price}{balance}\n"
        )

    def _labels_of(self, usage: Usage) -> str:
        """The columns of `LABELS`; most acts share theirs with an earlier one."""
        key = (
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
        )
        text = self._labels.get(key)
        if text is None:
            if len(self._labels) >= REMEMBERED:
                self._labels.clear()
            text = "\t".join([NULL if label is None else _escaped(label) for label in key])
            self._labels[key] = text
        return text

    def _stream(self, stream: UUID) -> str:
        if len(self._streams) >= REMEMBERED:
            self._streams.clear()
        text = self._streams[stream.int] = str(stream)
        return text


_special = re.compile(r"[\\\t\n\r\0]").search
_ESCAPES = str.maketrans(
    {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": "\ufffd"}  # NUL: see `storable`
)


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if _special(text) else text


def _place(usage_id: str) -> tuple[UUID, int]:
    place = parse_usage_id(usage_id)
    if place is None:
        raise ValueError(f"{usage_id} is no usage_id")
    return place
