"""A small client of Daybook's own HTTP API, for the command line and the demo workload."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import httpx

PATIENCE_S = 30.0
TRY_AGAIN = (502, 503, 504)
TRIES_APART_S = 0.2
NOT_FOUND = 404


class ApiRefused(RuntimeError):
    """The API said no, or nothing answered; the message is one line for a person."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Api:
    """Calls one deployment with one key. Numbers with a fraction are read as Decimal.

    A call that found no server, or one that cannot answer now, is sent again for up to 30 s: every
    write here carries a key of its own, so sending it again is safe. Any thread may call.
    """

    def __init__(self, url: str, key: str, *, patience: float = PATIENCE_S) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=30.0,
            trust_env=False,  # A proxy has no business between us and our own ledger.
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, workspace: str | None = None, **query: str | int) -> Any:
        """The answer's JSON.

        :raises ApiRefused: with the problem's detail.
        """
        return self._call("GET", path, None, workspace, None, query)

    def post(
        self,
        path: str,
        body: Any,
        workspace: str | None = None,
        *,
        key: str | None = None,
    ) -> Any:
        """Send a body; `key` becomes the Idempotency-Key.

        :raises ApiRefused: with the problem's detail.
        """
        return self._call("POST", path, json.dumps(body).encode(), workspace, key, {})

    def put(self, path: str, body: Any, workspace: str | None, *, key: str) -> Any:
        """As `post`."""
        return self._call("PUT", path, json.dumps(body).encode(), workspace, key, {})

    def pages(self, path: str, workspace: str | None = None) -> Iterator[Any]:
        """Every item of a listing, page by page."""
        cursor: dict[str, str | int] = {}
        while True:
            page = self.get(path, workspace, limit=100, **cursor)
            yield from page["data"]
            if not page["has_more"]:
                return
            cursor = {"cursor": page["next_cursor"]}

    def now(self) -> datetime:
        """The deployment's time, UTC: ours, unless it runs on a test clock."""
        try:
            # Ticking tells where a test clock stands, and does only what is due anyway.
            return datetime.fromisoformat(self.post("/v1/test/tick", {})["now"])
        except ApiRefused as refused:
            if refused.status != NOT_FOUND:
                raise
            return datetime.now(UTC)

    def _call(
        self,
        method: str,
        path: str,
        content: bytes | None,
        workspace: str | None,
        key: str | None,
        query: dict[str, str | int],
    ) -> Any:
        headers = {"X-Workspace-Id": workspace} if workspace else {}
        if key:
            headers["Idempotency-Key"] = key
        until = time.monotonic() + self._patience
        while True:
            trouble = "did not answer"
            try:
                response = self._http.request(
                    method, path, content=content, headers=headers, params=query or None
                )
                if response.status_code not in TRY_AGAIN:
                    return _answer(response)
                trouble = f"cannot answer now (HTTP {response.status_code})"
            except httpx.TransportError as error:
                trouble = f"did not answer ({type(error).__name__})"
            except httpx.InvalidURL:
                raise ApiRefused(f"{self.url!r} is no address: give --url http://…") from None
            if time.monotonic() > until:
                raise ApiRefused(f"{self.url} {trouble}: is it running? scripts/run starts it.")
            time.sleep(TRIES_APART_S)


def _answer(response: httpx.Response) -> Any:
    try:
        body = json.loads(response.content, parse_float=Decimal)
    except ValueError:
        raise ApiRefused(
            f"{response.url} did not answer as a Daybook does (HTTP {response.status_code}).",
            response.status_code,
        ) from None
    if response.is_success:
        return body
    code = str(body.get("code", "")) if isinstance(body, dict) else ""
    detail = str(body.get("detail", "")) if isinstance(body, dict) else ""
    first = next(iter(body.get("errors") or ()), None) if isinstance(body, dict) else None
    if first:
        detail += f" ({'.'.join(map(str, first.get('loc', ())))}: {first.get('msg')})"
    path = response.request.url.path
    raise ApiRefused(f"{path}: {response.status_code} {code}: {detail}", response.status_code, code)
