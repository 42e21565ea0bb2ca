"""What a field may say, where only certain texts will do: so that a refusal names the cure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from msgspec import inspect

Loc = tuple[str | int, ...]


@lru_cache(maxsize=1_000)
def choices_at(kind: Any, loc: Loc) -> tuple[str, ...]:
    """The texts that a field of a type of body may hold; none where any will do, or where the
    place is not known."""
    found = [inspect.type_info(kind)]
    for part in loc:
        found = [child for one in _alternatives(found) for child in _within(one, part)]
    texts = (
        value
        for one in _alternatives(found)
        if isinstance(one, inspect.LiteralType)
        for value in one.values
    )
    return tuple(str(value) for value in dict.fromkeys(texts))


def _alternatives(types: Iterable[inspect.Type]) -> Iterator[inspect.Type]:
    for one in types:
        match one:
            case inspect.UnionType(types=within):
                yield from _alternatives(within)
            case inspect.Metadata(type=within):
                yield from _alternatives([within])
            case _:
                yield one


def _within(kind: inspect.Type, part: str | int) -> Iterator[inspect.Type]:
    match kind:
        case inspect.StructType(fields=fields):
            yield from (field.type for field in fields if field.encode_name == part)
        case inspect.ListType(item_type=within) | inspect.VarTupleType(item_type=within):
            yield within
        case inspect.DictType(value_type=within):
            yield within
