"""Usage added up by quarter-hour and label: what is grouped, charted and billed from."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from operator import add
from typing import Any
from uuid import UUID

import msgspec
from psycopg import Connection

from domain.account_facts import Debited, UsageRated, UsageRecorded, UsageVoided
from projections.act import LABELS, SUMS, Labels, added, bucket_of, place_of, starts_at, storable
from projections.read_model import Posted, ReadModel

# The labels are the key, by a digest: together they can be larger than an index entry may be.
TABLE = f"""
CREATE TABLE IF NOT EXISTS {{table}} (
    stream uuid NOT NULL,               -- the account's
    bucket timestamptz NOT NULL,        -- the quarter-hour of occurred_at
    labels uuid NOT NULL,               -- a digest of the labels
    {", ".join(f"{label} text" for label in LABELS)},
    {", ".join(f"{column} bigint NOT NULL" for column in SUMS)},
    last_position bigint NOT NULL,
    PRIMARY KEY (stream, bucket, labels)
) WITH (fillfactor = 80)
"""
UPSERT = f"""
    INSERT INTO {{usage_hourly}} AS now
        (stream, bucket, labels, {", ".join(LABELS)}, {", ".join(SUMS)}, last_position)
    SELECT * FROM unnest(%b::uuid[], %b::timestamptz[], %b::uuid[],
        {", ".join("%b::text[]" for _ in LABELS)},
        {", ".join("%b::bigint[]" for _ in SUMS)}, %b::bigint[])
    ON CONFLICT (stream, bucket, labels) DO UPDATE SET
        {", ".join(f"{column} = now.{column} + excluded.{column}" for column in SUMS)},
        last_position = excluded.last_position
"""
REMEMBERED = 50_000


class UsageHourly(ReadModel):
    """Sums of usage. A void subtracts what its act added, so totals net to zero."""

    name = "usage_hourly"
    facts = (Debited, UsageRecorded, UsageRated, UsageVoided)
    tables = {"usage_hourly": TABLE}

    def __init__(self, suffix: str = "") -> None:
        super().__init__(suffix)
        self._upsert = self.sql(UPSERT)
        self._digests: dict[Labels, UUID] = {}

    def fold(self, events: Sequence[Posted]) -> Any:
        """(stream, bucket, labels) -> [sums, last position]."""
        rows: dict[tuple[UUID, int, Labels], list[Any]] = {}
        for position, stream, _, fact in events:
            if type(fact) is Debited and fact.usage is None:
                continue  # An adjustment; or the money of a `UsageRated`, counted there.
            key = (stream, *place_of(fact))  # type: ignore[arg-type]
            sums = added(fact)  # type: ignore[arg-type]
            row = rows.get(key)
            if row is None:
                rows[key] = [sums, position]
            else:
                row[0] = tuple(map(add, row[0], sums))
                row[1] = position
        return rows

    def write(self, connection: Connection, changes: Any) -> None:
        """Add to the rows that are there, and insert the others, in the order of their keys."""
        keyed = sorted(
            ((stream, bucket, self._digest(labels)), labels, row)
            for (stream, bucket, labels), row in changes.items()
        )
        streams, buckets, digests = zip(*(key for key, _, _ in keyed), strict=True)
        labels = zip(*(labels for _, labels, _ in keyed), strict=True)
        sums = zip(*(row[0] for _, _, row in keyed), strict=True)
        connection.execute(
            self._upsert,
            (
                list(streams),
                [starts_at(bucket) for bucket in buckets],
                list(digests),
                *([None if text is None else storable(text) for text in c] for c in labels),
                *(list(column) for column in sums),
                [row[1] for _, _, row in keyed],
            ),
            prepare=True,
        )

    def _digest(self, labels: Labels) -> UUID:
        digest = self._digests.get(labels)
        if digest is None:
            if len(self._digests) >= REMEMBERED:
                self._digests.clear()
            digest = UUID(bytes=sha256(msgspec.json.encode(labels)).digest()[:16])
            self._digests[labels] = digest
        return digest


__all__ = ["UsageHourly", "bucket_of"]
