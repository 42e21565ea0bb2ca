"""Who looks at the pages: a cookie that carries an API key, and where a form may come from."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlsplit

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from api.auth import Caller
from api.house import House
from api.refusals import Unauthenticated
from domain.errors import Forbidden, NotFound

COOKIE: Final = "daybook_session"
SCOPE: Final = "billing:read"
AGE_S: Final = 12 * 3600
FORM_MAX: Final = 4_096  # bytes


async def viewer(request: Request, workspace_id: str | None = None) -> Caller:
    """Whoever signed in, if the key may read billing: of this workspace, where one is named.

    :raises Unauthenticated: nobody did, or the key was revoked meanwhile.
    :raises Forbidden: the key lacks the scope.
    :raises NotFound: the key is bound to another workspace.
    """
    return await _admit(request, request.cookies.get(COOKIE, ""), workspace_id)


async def sign_in(request: Request, response: Response, key: str) -> Caller:
    """Check a key and put it into the cookie; raises as `viewer`.

    The cookie holds the key itself: so no process keeps sessions, and a key that is revoked
    is signed out everywhere at once. Scripts cannot read it and other sites cannot send it.
    """
    caller = await _admit(request, key, None)
    response.set_cookie(
        COOKIE,
        key,
        max_age=AGE_S,
        httponly=True,
        samesite="strict",
        secure=_is_https(request),
    )
    return caller


def sign_out(request: Request, response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_https(request))


def require_same_origin(request: Request) -> None:
    """Refuse a form that another site has sent. Browsers name the origin of every POST.

    :raises Forbidden: the origin is another one, or unknown.
    """
    origin = request.headers.get("origin", "")
    if not origin or urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("This form was not sent from Daybook's own page.")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small form; the last value of each, and nothing of one over 4 kB."""
    body = b""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        body += message.get("body", b"")
        if len(body) > FORM_MAX:
            return {}
        if not message.get("more_body"):
            break
    fields = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="replace")
    return {name: values[-1].strip() for name, values in fields.items()}


async def _admit(request: Request, key: str, workspace_id: str | None) -> Caller:
    if not key:
        raise Unauthenticated()
    house: House = request.app.state.house
    caller = await house.keys.caller(f"Bearer {key}")
    caller.require(SCOPE)
    if workspace_id is not None and caller.workspace_id not in (None, workspace_id):
        raise NotFound("workspace", workspace_id)
    return caller


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"
