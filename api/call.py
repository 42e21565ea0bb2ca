"""One request: who calls, for which workspace, with which body; and how it is answered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NoReturn, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.auth import Caller
from api.choices import choices_at
from api.freshness import least_position
from api.house import House
from api.refusals import PayloadTooLarge, UnsupportedMediaType
from api.words import NOT_BLANK
from domain.amounts import check_texts
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.facts import Context

T = TypeVar("T")
Of = Literal["workspace", "path", "deployment", "anything"]

BODY_MAX: Final = 2_000_000  # bytes
JSON = re.compile(r"application/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
GZIP = b"\x1f\x8b"
_untyped = msgspec.json.Decoder(float_hook=Decimal)
encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in. ``workspace_id`` is "" where none is concerned; ``least`` is the
    position that a read must contain, and is committed."""

    house: House
    request: Request
    caller: Caller
    workspace_id: str
    least: int = 0

    async def context(self) -> Context:
        """Who asks, and the time, for a command."""
        now = await self.house.clock.now()
        return Context(now, self.caller.actor, self.request.scope["correlation_id"])


async def enter(
    request: Request, scope: str, of: Of = "workspace", *, or_scope: str | None = None
) -> Call:
    """Let a caller in who has the scope (or the other one, if there is one), for what the route
    is about; nothing is said twice.

    ``workspace``: the key's own, or for a service key the one of X-Workspace-Id. ``path``: the
    one in the path. ``deployment``: no workspace, so the key must be bound to none.
    ``anything``: as ``workspace``, but a service key may leave the header out ("").

    :raises Unauthenticated, Forbidden: no such key, or not with this scope.
    :raises InvalidInput: a query parameter or the workspace is given twice, or NUL is in them.
    :raises NotFound: the key is bound to another workspace.
    :raises ProjectionLagging: the position that a read must contain is not committed.
    """
    house: House = request.app.state.house
    caller = await house.keys.caller(request.headers.get("authorization"))
    if or_scope is None or not caller.may(or_scope):
        caller.require(scope)
    if b"%00" in request.scope["query_string"] or b"%00" in request.scope.get("raw_path", b""):
        _refuse_nul(request)
    if request.scope["query_string"]:
        _check_once(request)
    workspace_id = _workspace_of(request, caller, of)
    return Call(house, request, caller, workspace_id, await least_position(request, house.pool))


def _refuse_nul(request: Request) -> NoReturn:
    parts = request.query_params.multi_items()
    names = [name for name, value in parts if "\0" in value and "\0" not in name]
    raise InvalidInput(("query", *names[:1]), "must not contain a NUL character")


def _check_once(request: Request) -> None:
    """Of two values for one name, nobody would know which was meant."""
    seen = set[str]()
    for name, _ in request.query_params.multi_items():
        if name in seen:
            raise InvalidInput(("query", name), "must be given once")
        seen.add(name)


def _workspace_of(request: Request, caller: Caller, of: Of) -> str:
    """The workspace that a call is about, as far as the key may act for it; see `enter`."""
    bound = caller.workspace_id
    if of == "deployment":
        if bound is not None:
            raise Forbidden("This key is bound to one workspace; this needs one that is not.")
        return ""
    named = request.headers.getlist("x-workspace-id")
    if len(named) > 1:
        raise InvalidInput(("header", "X-Workspace-Id"), "must be given once")
    sent = named[0] if named else None
    asked = request.path_params["workspace_id"] if of == "path" else sent
    if bound is not None:
        if asked is not None and asked != bound:
            raise NotFound("workspace", asked)
        return bound
    if not asked and of != "anything":
        raise InvalidInput(
            ("header", "X-Workspace-Id"),
            "This key serves every workspace: name one in the header X-Workspace-Id.",
        )
    return asked or ""


async def read_body(request: Request) -> bytes:
    """The whole body, unparsed.

    :raises UnsupportedMediaType: it is not declared to be JSON.
    :raises PayloadTooLarge: over 2 MB, announced or sent.
    """
    headers, announced = request.headers, _announced(request)
    if JSON.fullmatch(headers.get("content-type", "")) is None and (
        announced not in ("", "0") or "content-type" in headers or "transfer-encoding" in headers
    ):
        raise UnsupportedMediaType()
    return await read_bytes(request)


async def read_bytes(request: Request) -> bytes:
    """The whole body, whatever it is declared to be.

    :raises PayloadTooLarge: over 2 MB, announced or sent.
    """
    _announced(request)
    body = b""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        body += message.get("body", b"")
        if len(body) > BODY_MAX:
            raise PayloadTooLarge(BODY_MAX)
        if not message.get("more_body"):
            return bytes(body)


def _announced(request: Request) -> str:
    announced: str = request.headers.get("content-length", "")
    if len(announced) > 7 or (announced.isdigit() and int(announced) > BODY_MAX):
        raise PayloadTooLarge(BODY_MAX)
    return announced


def parse(decoder: msgspec.json.Decoder[T], body: bytes, *, whole: bool = True) -> T:
    """The body as the type that the decoder knows; not ``whole``: its parts are parsed later.

    :raises InvalidInput: not JSON, or not of the type; says where and what.
    """
    try:
        if whole and b"\\u0000" in body:
            place = _place_of_nul(msgspec.json.decode(body))
            if place is not None:
                raise InvalidInput(place, "must not contain a NUL character")
        value = decoder.decode(body)
        if whole:
            check_texts(decoder.type, lambda: _untyped.decode(body))
        return value
    except msgspec.ValidationError as wrong:
        raise invalid(wrong, decoder.type) from None
    except msgspec.DecodeError as wrong:
        if body.startswith(GZIP):
            raise InvalidInput((), "is compressed: send the JSON as it is") from None
        raise InvalidInput((), f"is not JSON: {wrong}") from None
    except UnicodeDecodeError:
        raise InvalidInput((), "is not UTF-8") from None
    except OverflowError:
        raise InvalidInput((), "a time is outside the years 1 to 9999 in UTC") from None
    except RecursionError:
        raise InvalidInput((), "is nested too deeply") from None
    except ValueError as wrong:  # such as a number of more than 4,300 digits
        raise InvalidInput((), str(wrong)) from None


def invalid(wrong: msgspec.ValidationError, kind: Any) -> InvalidInput:
    """A decoder's complaint about a ``kind`` as a refusal that names the field and, where only
    certain texts will do, those."""
    message, _, path = str(wrong).partition(" - at `$")
    loc: list[str | int] = [
        int(part) if part.isdigit() else part
        for part in re.split(r"[.\[\]]+", path.rstrip("`"))
        if part and part != "..."
    ]
    named = re.search(r"(?:unknown|required) field `(.+)`", message)
    if named is not None:
        loc.append(named[1])
    if message.startswith("Invalid enum value") and (choices := choices_at(kind, tuple(loc))):
        message = f"must be one of {', '.join(choices)}"
    elif message.endswith(repr(NOT_BLANK)):
        message = "must not be blank"
    return InvalidInput(tuple(loc), message)


def answer(
    body: Any,
    position: int | None = None,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """JSON, with the position that the write reached."""
    headers = headers or {}
    if position is not None:
        headers["X-Ledger-Position"] = str(position)
    return Response(encode(body), status, headers, "application/json")


def _place_of_nul(value: Any) -> tuple[str | int, ...] | None:
    """Where in a document the first NUL is, or None; one in a name is where the name is."""
    if isinstance(value, str):
        return () if "\0" in value else None
    parts: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, list):
        parts = enumerate(value)
    elif isinstance(value, dict):
        if any("\0" in name for name in value):
            return ()
        parts = value.items()
    for name, part in parts:
        place = _place_of_nul(part)
        if place is not None:
            return (name, *place)
    return None
