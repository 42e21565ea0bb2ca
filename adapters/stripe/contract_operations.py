"""Which operations Stripe's API has, read from the installed stripe-python's services."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import stripe

_METHOD = re.compile(r"^    def \w+\(", re.MULTILINE)
_PARAMS = re.compile(r'params: (?:Optional\[)?"(\w+)"')
_ANSWER = re.compile(r'\) -> "([^:]+)":')
_REQUEST = re.compile(r'self\._request\(\s*"(\w+)",\s*"([^"]+)"')
_BRACED = re.compile(r"\{\w*\}")


@dataclass(frozen=True)
class Operation:
    """One operation: the module and name of its parameters' type, and what it answers.

    `answer` is an annotation, to be read in `service`.
    """

    service: str
    params_module: str
    params_name: str
    answer: str

    def params(self) -> type:
        """The type of its parameters."""
        found: type = getattr(importlib.import_module(self.params_module), self.params_name)
        return found


def anonymous(path: str) -> str:
    """A path whose placeholders have no names: "/v1/customers/{}"."""
    return _BRACED.sub("{}", path)


@cache
def operations() -> dict[tuple[str, str], Operation]:
    """Every operation of the API by method and anonymous path."""
    package = Path(stripe.__file__).parent
    found: dict[tuple[str, str], Operation] = {}
    for file in sorted(package.rglob("*_service.py")):
        if "v2" in file.parts:
            continue
        parts = file.relative_to(package.parent).with_suffix("").parts
        text = file.read_text(encoding="utf-8")
        for body in _METHOD.split(text)[1:]:
            _add(found, ".".join(parts), text, body)
    return found


def _add(found: dict[tuple[str, str], Operation], service: str, text: str, body: str) -> None:
    params, request, answer = _PARAMS.search(body), _REQUEST.search(body), _ANSWER.search(body)
    if params is None or request is None or answer is None:
        return
    name = params[1]
    where = re.search(rf"from (stripe\.params[\w.]*) import \(?\s*{name}\b", text)
    if where is not None:
        key = (request[1].upper(), anonymous(request[2]))
        found[key] = Operation(service, where[1], name, answer[1])
