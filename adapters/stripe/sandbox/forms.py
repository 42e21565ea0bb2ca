"""Form fields as Stripe nests them: ``items[0][price]=p`` is {"items": {"0": {"price": "p"}}}."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from adapters.stripe.sandbox.errors import invalid

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")
DEPTH_MAX = 12


def decode(text: str) -> dict[str, Any]:
    """The nested fields of a form or query; values are text, ``[]`` counts up."""
    return nested(parse_qsl(text, keep_blank_values=True))


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Fields by their path; StripeError 400 where a field is both a value and nested."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            raise invalid(f"Invalid parameter name: {name}", name)
        path = [match[1], *_PART.findall(match[2])]
        if len(path) > DEPTH_MAX:
            raise invalid(f"Parameter is nested too deeply: {name}", name)
        _set(fields, path, value, name)
    return fields


def _set(fields: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for part in path[:-1]:
        inner = fields.setdefault(part or str(len(fields)), {})
        if not isinstance(inner, dict):
            raise invalid(f"Invalid object: {name}", name)
        fields = inner
    last = path[-1] or str(len(fields))
    if isinstance(fields.get(last), dict):
        raise invalid(f"Invalid string: {name}", name)
    fields[last] = value
