"""Usage added up by quarter-hour and label: what is grouped, charted and billed from."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec
from psycopg import Connection

from domain.account.usage_facts import Debited, UsageRated, UsageRecorded, UsageVoided
from projections.act import LABELS, SUMS, Counted, Labels, added, place_of, storable
from projections.appending import as_array
from projections.read_model import Changes, Posted, ReadModel

TABLE = f"""
CREATE TABLE IF NOT EXISTS {{table}} (
    stream uuid NOT NULL,               -- the account's
    bucket timestamptz NOT NULL,        -- the quarter-hour of occurred_at
    labels uuid NOT NULL,               -- see usage_labels
    {", ".join(f"{column} bigint NOT NULL" for column in SUMS)},
    last_position bigint NOT NULL,
    PRIMARY KEY (stream, bucket, labels)
) WITH (fillfactor = 80)
"""
# Apart, and under a digest: all labels of an act together can be larger than an index entry may
# be, and they repeat from one quarter-hour to the next.
LABELS_TABLE = f"""
CREATE TABLE IF NOT EXISTS {{table}} (
    labels uuid PRIMARY KEY,
    {", ".join(f"{label} text" for label in LABELS)}
)
"""
NAME = f"""
    INSERT INTO {{usage_labels}} (labels, {", ".join(LABELS)})
    SELECT * FROM unnest(%t::uuid[], {", ".join("%b::text[]" for _ in LABELS)})
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - names of ours
UPSERT = f"""
    INSERT INTO {{usage_hourly}} AS now (stream, bucket, labels, {", ".join(SUMS)}, last_position)
    SELECT stream, to_timestamp(bucket * 900), labels, {", ".join(SUMS)}, last_position
    FROM unnest(%t::uuid[], %t::bigint[], %t::uuid[],
                {", ".join("%t::bigint[]" for _ in SUMS)}, %t::bigint[])
         AS new (stream, bucket, labels, {", ".join(SUMS)}, last_position)
    ON CONFLICT (stream, bucket, labels) DO UPDATE SET
        {", ".join(f"{column} = now.{column} + excluded.{column}" for column in SUMS)},
        last_position = excluded.last_position
"""  # noqa: S608 - names of ours
REMEMBERED = 50_000

# Where a row keeps what. Most acts add to the first few sums only: counts, tokens and money.
ALL = range(len(SUMS))
FEW = range(SUMS.index("total_cost") + 1)
FEW_COUNT = len(FEW)
NO_MORE = (0,) * (len(SUMS) - FEW_COUNT)
LAST = len(SUMS)


class UsageHourly(ReadModel):
    """Sums of usage. A void subtracts what its act added, so totals net to zero."""

    name = "usage_hourly"
    facts = (Debited, UsageRecorded, UsageRated, UsageVoided)
    tables = {"usage_hourly": TABLE, "usage_labels": LABELS_TABLE}

    def __init__(self, suffix: str = "") -> None:
        super().__init__(suffix)
        self._name = self.sql(NAME)
        self._upsert = self.sql(UPSERT)
        self._digests: dict[Labels, str] = {}

    def nothing(self) -> Changes:
        """(stream, bucket, digest of the labels) -> the sums, last position, labels."""
        return ({},)

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """Add every fact to the row of its place."""
        rows: dict[tuple[int, int, str], list[Any]] = changes[0]
        digests = self._digests
        for position, stream, _, fact in events:
            if isinstance(fact, Debited) and fact.usage is None:
                continue  # An adjustment; or the money of a `UsageRated`, counted there.
            assert isinstance(fact, Counted)
            bucket, labels = place_of(fact)
            key = (stream.int, bucket, digests.get(labels) or self._digest(labels))
            row = rows.get(key)
            if row is None:
                rows[key] = [*added(fact), position, labels]
                continue
            sums = added(fact)
            for index in FEW if sums[FEW_COUNT:] == NO_MORE else ALL:
                row[index] += sums[index]
            row[LAST] = position

    def write(self, connection: Connection, changes: Changes) -> None:
        """Name labels that are new, then add to the rows that are there and insert the others,
        in the order of their keys."""
        rows = sorted(changes[0].items())
        named = {digest: row[LAST + 1] for (_, _, digest), row in rows}
        order = sorted(named)
        labels = [
            [None if label is None else storable(label) for label in column]
            for column in zip(*map(named.__getitem__, order), strict=True)
        ]
        connection.execute(self._name, (as_array(order), *labels), prepare=True)
        streams, buckets, digests = zip(*(key for key, _ in rows), strict=True)
        hexadecimal = {stream: f"{stream:032x}" for stream in set(streams)}
        *numbers, _ = zip(*(row for _, row in rows), strict=True)
        connection.execute(
            self._upsert,
            (
                as_array(map(hexadecimal.__getitem__, streams)),
                as_array(buckets),
                as_array(digests),
                *map(as_array, numbers),
            ),
            prepare=True,
        )

    def _digest(self, labels: Labels) -> str:
        if len(self._digests) >= REMEMBERED:
            self._digests.clear()
        digest = sha256(msgspec.json.encode(labels)).hexdigest()[:32]
        self._digests[labels] = digest
        return digest
