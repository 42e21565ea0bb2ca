"""The OpenAPI description: routes say what they take and give, this puts it into the document."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

Parameter = dict[str, Any]
JSON = "application/json"

_asked: set[type] = set()
_given: set[type] = set()

DESCRIPTION = """Usage is charged as it happens, every change is an event, and any number can be
replayed. Amounts are integers in micro-units (`*_micros`), beside them exact decimals (`*_usd`).
Writes answer `X-Ledger-Position`; every read takes `min_position`, or `consistency=strong`, to
see them. Errors are `application/problem+json`."""


class Problem(msgspec.Struct):
    """A refusal (RFC 9457); some codes carry more members, every 402 those of the wallet."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str


_given.add(Problem)


def documented(
    summary: str,
    scope: str | None,
    *,
    answers: dict[int, type],
    body: type | None = None,
    optional_body: bool = False,
    examples: dict[str, Any] | None = None,
    example: Any = None,
    parameters: list[Parameter] | None = None,
    keyed: bool | None = None,
    of: str = "workspace",
    media: str = JSON,
) -> dict[str, Any]:
    """Keyword arguments of a route: what it takes and answers, and the scope that it needs.

    ``examples`` are of the body, ``example`` is of the first answer. ``keyed``: whether an
    Idempotency-Key is required; None where there is none to send. ``media``: what the answer is
    where it is not JSON.
    """
    if media == JSON:
        _given.update(answers.values())
    extra: dict[str, Any] = {
        "security": [{"key": [scope]}] if scope else [],
        "responses": _responses(answers, media),
    }
    if example is not None:
        first = str(next(iter(answers)))
        extra["responses"][first]["content"]["application/json"]["example"] = example
    taken = list(parameters or ())
    if scope and of in ("workspace", "anything"):
        taken.append(header("X-Workspace-Id", "Which workspace; for service keys only", "ws_1"))
    if keyed is not None:
        taken.append(
            header("Idempotency-Key", "Makes it safe to send again", "order-77", required=keyed)
        )
    if of == "path":
        taken.append(path_parameter("workspace_id", "ws_1"))
    extra["parameters"] = taken
    if body is not None:
        _asked.add(body)
        content: dict[str, Any] = {"schema": _ref(body)}
        if examples:
            content["examples"] = {name: {"value": value} for name, value in examples.items()}
        extra["requestBody"] = {
            "required": not optional_body,
            "content": {"application/json": content},
        }
    return {
        "summary": summary,
        "status_code": next(iter(answers)),
        "response_model": None,
        "openapi_extra": extra,
    }


def _responses(answers: dict[int, type], media: str) -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": media}
    done = {
        str(status): {
            "description": "Done",
            "content": {media: {"schema": _ref(kind) if media == JSON else file}},
        }
        for status, kind in answers.items()
    }
    refused = {
        "description": "Refused",
        "content": {"application/problem+json": {"schema": _ref(Problem)}},
    }
    return done | {"default": refused}


def query(
    name: str, description: str, *, kind: str = "string", enum: tuple[str, ...] = ()
) -> Parameter:
    """A query parameter."""
    schema: dict[str, Any] = {"type": kind}
    if enum:
        schema["enum"] = list(enum)
    return {"name": name, "in": "query", "description": description, "schema": schema}


def header(name: str, description: str, example: str, *, required: bool = False) -> Parameter:
    """A request header."""
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "example": example,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }


def path_parameter(name: str, example: str) -> Parameter:
    """A part of the path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "example": example,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }


def install(app: FastAPI) -> None:
    """Serve the document at /openapi.json."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title="Daybook", version="1", description=DESCRIPTION, routes=app.routes
            )
            for path in made["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            made.setdefault("components", {})["schemas"] = _schemas()
            made["components"]["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "description": "dbk_…"}
            }
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _ref(kind: type) -> dict[str, Any]:
    if get_origin(kind) is list:
        return {"type": "array", "items": _ref(get_args(kind)[0])}
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _schemas() -> dict[str, Any]:
    """The types of bodies and answers; an amount may be sent as text, and comes as a number."""
    template = "#/components/schemas/{name}"
    asked = msgspec.json.schema_components(_asked, ref_template=template)[1]
    given = msgspec.json.schema_components(_given, ref_template=template)[1]
    amount = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}]}
    merged: dict[str, Any] = _replace(given, {"type": "number"})
    merged.update(_replace(asked, amount))
    return merged


def _replace(schema: Any, amount: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            return amount
        return {name: _replace(part, amount) for name, part in schema.items()}
    if isinstance(schema, list):
        return [_replace(part, amount) for part in schema]
    return schema
