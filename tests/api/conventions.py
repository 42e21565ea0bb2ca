"""Every documented route, asked as its own document says, so that new routes are held too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from tests.api.conftest import Served

WRITES = ("POST", "PUT", "PATCH")
JSON = "application/json"
_numbers = count(1)


@dataclass(frozen=True)
class Route:
    """An operation of the document: its path filled in, and the first example of its body."""

    method: str
    path: str
    template: str
    example: Any  # None: it takes no body
    headers: dict[str, str]
    takes_key: bool
    needs_key: bool

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    def ask(
        self, app: Served, body: bytes | None, query: str = "", **headers: str
    ) -> httpx.Response:
        """Send it, as the administrator."""
        sent = {"Authorization": f"Bearer {app.admin_key}", **self.headers}
        if body is not None:
            sent["Content-Type"] = JSON
        path = self.path + (("&" if "?" in self.path else "?") + query if query else "")
        return app.http.request(self.method, path, content=body, headers=sent | headers)

    @property
    def body(self) -> bytes | None:
        """The example, as it is sent."""
        return None if self.example is None else json.dumps(self.example).encode()


def new_key() -> dict[str, str]:
    """A header with an Idempotency-Key that nobody used yet."""
    return {"Idempotency-Key": f"convention-{next(_numbers)}"}


def routes(app: Served, workspace: str, **ids: str) -> Iterator[Route]:
    """Every documented route that needs a key, but those of tests."""
    given = {"workspace_id": workspace, **ids}
    document = app.http.get("/openapi.json").json()
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["security"] and not template.startswith("/v1/test/"):
                yield _route(method.upper(), template, operation, given)


def _route(method: str, template: str, operation: Any, given: dict[str, str]) -> Route:
    path, asked = template, []
    named = {one["name"]: one for one in operation.get("parameters", [])}
    for name, one in named.items():
        value = given.get(name) or str(one.get("example", "x"))
        if one["in"] == "path":
            path = path.replace(f"{{{name}}}", value)
        elif one["in"] == "query" and one.get("required"):
            asked.append(f"{name}={value}")
    body = operation.get("requestBody", {}).get("content", {}).get(JSON)
    examples = [one["value"] for one in (body or {}).get("examples", {}).values()]
    key = named.get("Idempotency-Key", {})
    return Route(
        method,
        "?".join([path, *asked]),
        template,
        None if body is None else (examples or [{}])[0],
        {"X-Workspace-Id": given["workspace_id"]} if "X-Workspace-Id" in named else {},
        "Idempotency-Key" in named,
        bool(key.get("required")),
    )
