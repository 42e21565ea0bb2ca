"""Expansion: ids in an answer replaced by their objects, as `expand[]` asks."""

from __future__ import annotations

from typing import Any

from adapters.stripe import contract
from adapters.stripe.contract_schema import Schema
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.route import INCLUSIONS, Books, Json

DEPTH_MAX = 4


def expand(books: Books, answer: Json, paths: list[str], schema: Schema) -> Json:
    """The answer, which is of this schema, with fields expanded: "customer", "data.customer".

    :raises StripeError: there is no such field, or it is no id of an object.
    """
    for path in paths:
        parts = path.split(".")
        if len(parts) > DEPTH_MAX:
            text = f"You cannot expand more than {DEPTH_MAX} levels of a property. Property: {path}"
            raise invalid(text, "expand")
        _Expansion(books, path).within(answer, parts, schema)
    return answer


class _Expansion:
    def __init__(self, books: Books, path: str) -> None:
        self._books = books
        self._refused = invalid(f"This property cannot be expanded ({path}).", "expand")

    def within(self, obj: Json, parts: list[str], schema: Schema) -> None:
        name, rest = parts[0], parts[1:]
        known = contract.field(schema, name)
        if known is None:
            raise self._refused
        include = INCLUSIONS.get((obj.get("object", ""), name))
        if include is not None and name not in obj:
            obj[name] = include(self._books, obj)
        elif not rest and not contract.is_expandable(known):
            raise self._refused
        obj[name] = self._expanded(obj.get(name), rest, known)

    def _expanded(self, value: Any, rest: list[str], schema: Schema) -> Any:
        if isinstance(value, list):
            return [self._expanded(each, rest, schema) for each in value]
        if isinstance(value, str):
            found = self._books.look(None, value)
            if found is None or found["object"].startswith("sandbox."):
                raise self._refused
            value, schema = found, contract.response_schema(found["object"])
        if isinstance(value, dict) and rest:
            self.within(value, rest, schema)
        return value
