"""Columns of a batch as PostgreSQL's binary arrays, packed a column at a time.

psycopg packs element by element, each through its adapter: with several thousand rows a commit
that is a good part of what the writer's thread does. The layout is PostgreSQL's `array_send`:
dimensions, a flag for NULLs, the element's type, length, lower bound, then each element with
its length before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import error, pack
from uuid import UUID

from psycopg import DataError
from psycopg.adapt import Dumper
from psycopg.pq import Format

_NULL = b"\xff\xff\xff\xff"


class UuidArray(bytes):
    """A packed `uuid[]`."""


class BigintArray(bytes):
    """A packed `bigint[]`."""


class TextArray(bytes):
    """A packed `text[]`."""


class ByteaArray(bytes):
    """A packed `bytea[]`."""


def uuids(values: Sequence[UUID]) -> UuidArray:
    """Pack UUIDs."""
    return UuidArray(_head(2950, len(values)) + b"".join([b"\0\0\0\x10" + v.bytes for v in values]))


def bigints(values: Sequence[int | None]) -> BigintArray:
    """Pack 64-bit integers and NULLs.

    :raises psycopg.DataError: one does not fit, as the database itself would say.
    """
    count = len(values)
    try:
        if None in values:
            parts = [_NULL if v is None else pack("!iq", 8, v) for v in values]
            return BigintArray(_head(20, count, True) + b"".join(parts))
        flat: list[int | None] = [8] * (2 * count)
        flat[1::2] = values
        return BigintArray(_head(20, count) + pack("!" + "iq" * count, *flat))
    except error as wrong:
        raise DataError(f"a bigint is out of range: {wrong}") from None


def texts(values: Sequence[str]) -> TextArray:
    """Pack texts. PostgreSQL refuses NUL characters itself.

    :raises psycopg.DataError: one holds half a surrogate pair, which is no character.
    """
    try:
        return TextArray(_head(25, len(values)) + _joined([v.encode() for v in values]))
    except UnicodeEncodeError as wrong:
        raise DataError(f"a text is not Unicode: {wrong}") from None


def byteas(values: Sequence[bytes]) -> ByteaArray:
    """Pack byte strings."""
    return ByteaArray(_head(17, len(values)) + _joined(values))


def _joined(values: Sequence[bytes]) -> bytes:
    return b"".join([pack("!i", len(value)) + value for value in values])


def _head(element: int, count: int, nulls: bool = False) -> bytes:
    if count == 0:
        return pack("!iiI", 0, 0, element)
    return pack("!iiIii", 1, nulls, element, count, 1)


class _Packed(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _Uuids(_Packed):
    oid = 2951


class _Bigints(_Packed):
    oid = 1016


class _Texts(_Packed):
    oid = 1009


class _Byteas(_Packed):
    oid = 1001


DUMPERS = (
    (UuidArray, _Uuids),
    (BigintArray, _Bigints),
    (TextArray, _Texts),
    (ByteaArray, _Byteas),
)
"""To be registered on a connection that is given packed arrays."""
