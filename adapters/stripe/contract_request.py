"""Parameters of a request, read from form fields and held to their schema.

Complaints are worded as Stripe words them.
"""

from __future__ import annotations

import re
from typing import Any

from adapters.stripe.contract_schema import Schema, Schemas

Fields = dict[str, Any]
"""Form fields, nested: each value is a str or Fields; an array has its indices as keys."""

_INTEGER = re.compile(r"[+-]?\d+")


class Unacceptable(ValueError):
    """A request that the contract does not know: what is wrong, with which parameter."""

    def __init__(self, message: str, param: str, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class RequestReader:
    """Reads requests by the schemas that it is given."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def read(self, schema: Schema, fields: Fields) -> dict[str, Any]:
        """The typed parameters; Unacceptable for the first one that is wrong."""
        params: dict[str, Any] = self._value(schema, fields, "")
        return params

    def _value(self, schema: Schema, value: Any, at: str) -> Any:
        schema = self._schemas.resolve(schema)
        if "anyOf" in schema:
            return self._union(schema["anyOf"], value, at)
        if "enum" in schema:
            return _word(schema["enum"], value, at)
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, value, at)
        if kind == "array":
            return self._array(schema["items"], value, at)
        if kind is None:
            return value
        return _scalar(kind, schema, value, at)

    def _union(self, choices: list[Schema], value: Any, at: str) -> Any:
        wrong: Unacceptable | None = None
        nested = isinstance(value, dict)
        # A nested value is an array or object, and complaints about it should be about that.
        for choice in choices:
            structured = self._schemas.resolve(choice).get("type") in ("object", "array")
            if structured is not nested:
                continue
            try:
                return self._value(choice, value, at)
            except Unacceptable as refused:
                wrong = wrong if wrong is not None and value == "" else refused
        raise wrong or Unacceptable(f"Invalid {'object' if not nested else 'string'}", at)

    def _object(self, schema: Schema, value: Any, at: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Unacceptable("Invalid object", at)
        others = schema.get("additionalProperties", {})
        if others is not False:
            return {name: self._value(others, each, _in(at, name)) for name, each in value.items()}
        properties: Schema = schema["properties"]
        if unknown := [_in(at, name) for name in value if name not in properties]:
            words = "parameters" if len(unknown) > 1 else "parameter"
            listed = ", ".join(unknown)
            raise Unacceptable(
                f"Received unknown {words}: {listed}", unknown[0], "parameter_unknown"
            )
        for name in schema["required"]:
            if name not in value:
                param = _in(at, name)
                raise Unacceptable(f"Missing required param: {param}.", param, "parameter_missing")
        return {
            name: self._value(properties[name], each, _in(at, name)) for name, each in value.items()
        }

    def _array(self, items: Schema, value: Any, at: str) -> list[Any]:
        if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
            raise Unacceptable("Invalid array", at)
        ordered = sorted(value.items(), key=lambda entry: int(entry[0]))
        return [
            self._value(items, each, f"{at}[{place}]") for place, (_, each) in enumerate(ordered)
        ]


def _in(at: str, name: str) -> str:
    return f"{at}[{name}]" if at else name


def _word(words: list[Any], value: Any, at: str) -> Any:
    for word in words:
        if value == (str(word).lower() if isinstance(word, bool) else str(word)):
            return word
    _demand_something(value, at)
    listed = [str(word) for word in words if word != ""]
    choice = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])}, or {listed[-1]}"
    raise Unacceptable(f"Invalid {at}: must be one of {choice}", at)


def _scalar(kind: str, schema: Schema, value: Any, at: str) -> Any:
    if isinstance(value, dict):
        raise Unacceptable(f"Invalid {kind}: {value}", at, f"parameter_invalid_{kind}")
    if kind == "string":
        pattern = schema.get("pattern")
        if pattern and not re.search(pattern, value):
            _demand_something(value, at)
            raise Unacceptable(f"Invalid decimal: {value}", at)
        return value
    _demand_something(value, at)
    if kind == "integer" and _INTEGER.fullmatch(value):
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind == "number" and re.fullmatch(schema.get("pattern", r"-?\d+(\.\d+)?"), value):
        return value  # As it was written: the sandbox calculates exactly.
    code = "parameter_invalid_integer" if kind == "integer" else None
    raise Unacceptable(f"Invalid {kind}: {value}", at, code)


def _demand_something(value: Any, at: str) -> None:
    if value == "":
        raise Unacceptable(
            f"You passed an empty string for '{at}'. We assume empty values are an attempt to"
            f" unset a parameter; however '{at}' cannot be unset. You should remove '{at}' from"
            " your request or supply a non-empty value.",
            at,
            "parameter_invalid_empty",
        )
