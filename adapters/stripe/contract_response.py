"""Answers and events, held to the schemas of their classes."""

from __future__ import annotations

import re
from numbers import Real
from typing import Any

from adapters.stripe.contract_schema import Schema, Schemas

KINDS: dict[str, tuple[Any, ...]] = {
    "null": (type(None),),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "number": (Real,),
    "object": (dict,),
    "array": (list,),
}


class ResponseChecker:
    """Checks values by the schemas that it is given."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def faults(self, schema: Schema, value: Any, at: str = "") -> list[str]:
        """What is wrong with a value, each fault with its place; empty if nothing is."""
        schema = self._schemas.resolve(schema)
        if "anyOf" in schema:
            return self._union(schema["anyOf"], value, at)
        if "enum" in schema:
            known = any(value == word and type(value) is type(word) for word in schema["enum"])
            return [] if known else [f"{at}: {value!r} is none of {schema['enum']}"]
        kind = schema.get("type")
        if kind is None:
            return []
        if not _is(value, kind):
            return [f"{at}: {value!r} is no {kind}"]
        if kind == "object":
            return self._object(schema, value, at)
        if kind == "array":
            items: list[Any] = value
            return [
                fault
                for place, item in enumerate(items)
                for fault in self.faults(schema["items"], item, f"{at}[{place}]")
            ]
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return [f"{at}: {value!r} is no {schema.get('format', 'such text')}"]
        return []

    def _object(self, schema: Schema, value: dict[str, Any], at: str) -> list[str]:
        properties: Schema = schema.get("properties", {})
        others = schema.get("additionalProperties", {})
        faults = [
            f"{at}.{name}: missing" for name in schema.get("required", ()) if name not in value
        ]
        for name, each in value.items():
            if name in properties:
                faults += self.faults(properties[name], each, f"{at}.{name}")
            elif others is False:
                faults.append(f"{at}.{name}: unknown")
            else:
                faults += self.faults(others, each, f"{at}.{name}")
        return faults

    def _union(self, choices: list[Schema], value: Any, at: str) -> list[str]:
        closest: list[str] | None = None
        for choice in choices:
            faults = self.faults(choice, value, at)
            if not faults:
                return []
            # The choice that understood most of the value tells most about what is wrong.
            deeper = not faults[0].startswith(f"{at}: ")
            if deeper and (closest is None or len(faults) < len(closest)):
                closest = faults
        return closest or [f"{at}: {value!r} is none of its {len(choices)} kinds"]


def _is(value: Any, kind: str) -> bool:
    # To Python a bool is an int; to JSON it is not.
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))
