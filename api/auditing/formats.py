"""Rows as files: CSV and Parquet, a piece at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from typing import Any

from projections.exporting import Rows

ROWS = 1_000
GROUP = 20_000
"""Rows of a Parquet row group: what is held in memory at a time."""


def csv_of(found: Rows) -> Iterator[bytes]:
    """UTF-8 with a header line; times as RFC 3339, nothing where there is no value."""
    yield _csv([[name for name, _ in found.columns]])
    while chunk := list(islice(found.rows, ROWS)):
        yield _csv(chunk)


def _csv(rows: list[Any]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(_plain, row) for row in rows])
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


class Sink:
    """A file that is never whole: what was written is taken out again at once."""

    def __init__(self) -> None:
        self._written = 0
        self._parts: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> int:
        """Keep a piece until it is taken."""
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        """How much was written in all."""
        return self._written

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """The last piece was written."""
        self.closed = True

    def take(self) -> bytes:
        """What was written since it was asked last."""
        taken, self._parts = b"".join(self._parts), []
        return taken


def parquet_of(found: Rows) -> Iterator[bytes]:
    """Parquet with the columns' types."""
    # Here, and not above: it is large, and most processes never write a Parquet file.
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    types = {
        "int": pa.int64(),
        "text": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "flag": pa.bool_(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in found.columns])
    sink = Sink()
    writer = parquet.ParquetWriter(sink, schema)
    while chunk := list(islice(found.rows, GROUP)):
        columns = zip(*chunk, strict=True)
        arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)]
        writer.write_batch(pa.record_batch(arrays, schema=schema))
        yield sink.take()
    writer.close()
    yield sink.take()
