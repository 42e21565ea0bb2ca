"""Amounts that come as text: plain digits, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from msgspec import inspect

from domain.errors import InvalidInput

PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")
Path = tuple[str | None, ...]
"""The way to a field; None: every part of a list or of an object with free names."""


def check_texts(kind: Any, untyped: Callable[[], Any]) -> None:
    """Refuse amounts that are text, but not plain digits. Python reads `1_000`, `１２`, ` 5 `,
    `+5`, `1e3` and `NaN` as numbers too, and nobody meant the amount that it makes of them.

    ``kind`` is the type that a document was read as; ``untyped`` gives the same document as plain
    values, and is asked only for a type with amounts in it.

    :raises InvalidInput: names the first such field.
    """
    paths = amounts_of(kind)
    document = untyped() if paths else None
    for path in paths:
        for loc, value in _found(document, path):
            if isinstance(value, str) and PLAIN.fullmatch(value) is None:
                raise InvalidInput(loc, "must be a plain decimal number, such as 12.34")


@cache
def amounts_of(kind: Any) -> tuple[Path, ...]:
    """Where a type of body has its amounts."""
    return tuple(_amounts_in(inspect.type_info(kind)))


def _amounts_in(kind: inspect.Type) -> Iterator[Path]:
    match kind:
        case inspect.DecimalType():
            yield ()
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from ((field.encode_name, *rest) for rest in _amounts_in(field.type))
        case inspect.UnionType(types=types):
            for one in types:
                yield from _amounts_in(one)
        case inspect.ListType(item_type=within) | inspect.VarTupleType(item_type=within):
            yield from ((None, *rest) for rest in _amounts_in(within))
        case inspect.DictType(value_type=within):
            yield from ((None, *rest) for rest in _amounts_in(within))
        case inspect.TupleType(item_types=(first, *_)):
            yield from ((None, *rest) for rest in _amounts_in(first))
        case _:
            return


def _found(value: Any, path: Path, *loc: str | int) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """What stands there, with its own place."""
    if not path:
        yield loc, value
        return
    name, rest = path[0], path[1:]
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items() if name is None else [(name, value.get(name))]
    elif isinstance(value, list) and name is None:
        parts = enumerate(value)
    for key, part in parts:
        yield from _found(part, rest, *loc, key)
