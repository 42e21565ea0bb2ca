"""What may be sent to Stripe and what it may answer, by the types of the installed stripe-python.

The SDK is generated from Stripe's OpenAPI description of one pinned version: its parameter and
resource classes are the description, so that nothing has to be downloaded or kept in step.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from stripe._object_classes import OBJECT_CLASSES

from adapters.stripe.contract_operations import Operation, anonymous, operations
from adapters.stripe.contract_request import Fields, RequestReader, Unacceptable
from adapters.stripe.contract_response import ResponseChecker
from adapters.stripe.contract_schema import Schema, Schemas

__all__ = [
    "ContractBroken", "Unacceptable", "answer_faults", "answer_schema", "check_response", "field",
    "is_expandable", "operation", "operations", "read_request", "request_schema", "response_faults",
    "response_schema", "schemas",
]  # fmt: skip

schemas = Schemas()
_reader = RequestReader(schemas)
_checker = ResponseChecker(schemas)
_LISTS = ("list", "search_result")


class ContractBroken(AssertionError):
    """An object that Stripe's types do not allow."""


def operation(method: str, path: str) -> Operation | None:
    """The operation at a path with placeholders, or None if Stripe has none there."""
    return operations().get((method, anonymous(path)))


@cache
def request_schema(method: str, path: str) -> Schema:
    """The schema of an operation's parameters; KeyError if there is no such operation."""
    return schemas.ref(operations()[method, anonymous(path)].params())


@cache
def response_schema(object_name: str) -> Schema:
    """The schema of an object by its `object`; KeyError if Stripe has none of that name."""
    module, name = OBJECT_CLASSES[object_name]
    return schemas.ref(getattr(importlib.import_module(module), name))


@cache
def answer_schema(method: str, path: str) -> Schema:
    """The schema of what an operation answers."""
    asked = operations()[method, anonymous(path)]
    return schemas.of(asked.answer, asked.service)


def read_request(method: str, path: str, fields: Fields) -> dict[str, Any]:
    """The typed parameters of a request; Unacceptable, in Stripe's words, if it is wrong."""
    return _reader.read(request_schema(method, path), fields)


def answer_faults(method: str, path: str, answer: dict[str, Any]) -> list[str]:
    """What is wrong with the answer of an operation."""
    if answer.get("deleted") is True:
        return _deleted_faults(answer)
    return _checker.faults(answer_schema(method, path), answer, answer.get("object", "answer"))


def response_faults(obj: dict[str, Any]) -> list[str]:
    """What is wrong with an object: one of Stripe's, a list of them, or an event about one."""
    name: Any = obj.get("object")
    if name in _LISTS:
        return [fault for item in obj["data"] for fault in response_faults(item)]
    if not isinstance(name, str) or name not in OBJECT_CLASSES:
        return [f"object: {name!r} is none of Stripe's"]
    if obj.get("deleted") is True:
        return _deleted_faults(obj)
    faults = _checker.faults(response_schema(name), obj, name)
    if name == "event" and not faults:
        faults = response_faults(obj["data"]["object"])
    return faults


def check_response(obj: dict[str, Any]) -> None:
    """Demand that Stripe could have answered this; ContractBroken says what is wrong."""
    if faults := response_faults(obj):
        raise ContractBroken("; ".join(faults))


def field(schema: Schema, name: str) -> Schema | None:
    """The schema of a field of an object, or of each object of a list; None if it has none."""
    for choice in _choices(schema):
        if choice.get("type") == "array":
            return field(choice["items"], name)
        if name in choice.get("properties", {}):
            found: Schema = choice["properties"][name]
            return found
    return None


def is_expandable(schema: Schema) -> bool:
    """Whether this is an id or the object that has it, or a list of such."""
    choices = _choices(schema)
    if any(choice.get("type") == "array" and is_expandable(choice["items"]) for choice in choices):
        return True
    kinds = [choice.get("type") for choice in choices]
    return "string" in kinds and "object" in kinds


def _deleted_faults(answer: dict[str, Any]) -> list[str]:
    wrong = answer.keys() ^ {"id", "object", "deleted"}
    return [f"{answer.get('object')}.{name}: wrong in what is deleted" for name in sorted(wrong)]


def _choices(schema: Schema) -> list[Schema]:
    schema = schemas.resolve(schema)
    return [schemas.resolve(choice) for choice in schema.get("anyOf", [schema])]
