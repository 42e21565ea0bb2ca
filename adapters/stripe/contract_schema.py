"""The types of the installed stripe-python as JSON Schema, made when they are first needed.

What a class says is taken strictly: an object has no field that its class does not name, and
an open enumeration (`Union[Literal[...], str]`) has no value that it does not list.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from types import ModuleType, NoneType, UnionType
from typing import Any, ForwardRef

import typing_extensions as te
from stripe._list_object import ListObject
from stripe._request_options import RequestOptions
from stripe._search_result_object import SearchResultObject
from stripe._stripe_object import StripeObject, UntypedStripeObject

Schema = dict[str, Any]

DEFS = "#/$defs/"
OPTIONS = frozenset(RequestOptions.__annotations__)
DECIMAL = r"^-?\d+(\.\d+)?$"
PLAIN: dict[Any, Schema] = {
    NoneType: {"type": "null"},
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    Decimal: {"type": "string", "format": "decimal", "pattern": DECIMAL},
    Any: {},
    object: {},
}


class Schemas:
    """Schemas by the name of their class; one refers to another by ``$ref``."""

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}
        self._built: dict[str, Schema] = {}

    def of(self, annotation: Any, module: str, owner: type | None = None) -> Schema:
        """The schema of an annotation found in a module, perhaps in a class there."""
        annotation = _evaluated(annotation, module, owner)
        if (plain := _plain(annotation)) is not None:
            return dict(plain)
        origin, arguments = te.get_origin(annotation), te.get_args(annotation)
        if origin in (te.NotRequired, te.Required):
            return self.of(arguments[0], module, owner)
        if origin in (typing.Union, UnionType):
            return _closed([self.of(part, module, owner) for part in arguments])
        if origin in (te.Literal, typing.Literal):
            return {"enum": list(arguments)}
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0], module, owner)}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1], module, owner)}
        kind = origin or annotation
        if inspect.isclass(kind) and issubclass(kind, StripeObject):
            return self._object(kind, [self.of(part, module, owner) for part in arguments])
        if te.is_typeddict(annotation):
            return self.ref(annotation)
        raise TypeError(f"{annotation!r} in {module} has no schema")

    def ref(self, kind: type) -> Schema:
        """A reference to the schema of this class."""
        name = f"{kind.__module__}.{kind.__qualname__}"
        self._classes[name] = kind
        return {"$ref": DEFS + name}

    def resolve(self, schema: Schema) -> Schema:
        """What a schema refers to, or itself."""
        ref = schema.get("$ref")
        if ref is None:
            return schema
        name = ref.removeprefix(DEFS)
        if name not in self._built:
            self._built[name] = self._class(self._classes[name])
        return self._built[name]

    def whole(self, schema: Schema) -> Schema:
        """The schema with all that it refers to, for a validator that is not ours."""
        defs: dict[str, Schema] = {}
        waiting = [schema]
        while waiting:
            for ref in _refs(waiting.pop()):
                if ref not in defs:
                    defs[ref] = self.resolve({"$ref": ref})
                    waiting.append(defs[ref])
        return {**schema, "$defs": {ref.removeprefix(DEFS): body for ref, body in defs.items()}}

    def _object(self, kind: type[StripeObject], parts: list[Schema]) -> Schema:
        if issubclass(kind, UntypedStripeObject):
            return {"type": "object", "additionalProperties": parts[0] if parts else {}}
        if issubclass(kind, ListObject | SearchResultObject):
            return _listing(kind, parts[0] if parts else {})
        return {"type": "object"} if kind is StripeObject else self.ref(kind)

    def _class(self, kind: type) -> Schema:
        asked = te.is_typeddict(kind)
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for name, annotation in vars(kind).get("__annotations__", {}).items():
            if name.startswith("_") or "ClassVar" in str(annotation):
                continue
            if asked and name in OPTIONS:
                continue
            wire = _wire_names(kind).get(name, name)
            properties[wire] = self.of(annotation, kind.__module__, kind)
            if asked:
                needed = name in kind.__required_keys__  # type: ignore[attr-defined]
            else:
                needed = {"type": "null"} not in properties[wire].get("anyOf", [])
            if needed:
                required.append(wire)
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }


def _plain(annotation: Any) -> Schema | None:
    # The SDK's number with a fraction: a percentage or a rate. Nothing here calculates with one.
    if getattr(annotation, "__name__", "") == "float":
        return {"type": "number"}
    try:
        return PLAIN.get(annotation, {} if isinstance(annotation, typing.TypeVar) else None)
    except TypeError:  # Not hashable: nothing plain is.
        return None


def _wire_names(kind: type) -> dict[str, str]:
    """Where a field is not called what the wire calls it (`lambda_` or the like)."""
    return getattr(kind, "_field_remappings", {})


def _closed(parts: list[Schema]) -> Schema:
    """A union. One that lists words is not open to others."""
    worded = any(word != "" for part in parts for word in part.get("enum", ()))
    flat = [each for part in parts for each in part.get("anyOf", [part])]
    if worded:
        flat = [part for part in flat if part != {"type": "string"}]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _listing(kind: type[StripeObject], item: Schema) -> Schema:
    properties = {
        "object": {"enum": [vars(kind)["OBJECT_NAME"]]},
        "data": {"type": "array", "items": item},
        "has_more": {"type": "boolean"},
        "url": {"type": "string"},
        "total_count": {"type": "integer"},
        "next_page": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": ["object", "data", "has_more", "url"],
        "additionalProperties": False,
    }


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _refs(part)


def _evaluated(annotation: Any, module: str, owner: type | None) -> Any:
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    names = {**_names(module), **(vars(owner) if owner else {})}
    return eval(annotation, {}, names)  # noqa: S307 - the text of an installed package


@cache
def _names(module: str) -> dict[str, Any]:
    """What a module's annotations may refer to, with what it imports for type checkers only."""
    loaded = importlib.import_module(module)
    names = dict(vars(loaded))
    for node in ast.walk(ast.parse(inspect.getsource(loaded))):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom) and statement.module:
                    names |= _imported(importlib.import_module(statement.module), statement)
    return names


def _imported(module: ModuleType, statement: ast.ImportFrom) -> dict[str, Any]:
    return {
        alias.asname or alias.name: getattr(module, alias.name)
        for alias in statement.names
        if hasattr(module, alias.name)
    }
