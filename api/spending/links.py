"""`/v1/oauth`: the user's own accounts at providers, which may pay for calls."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter, query
from api.standing import standing
from domain.account.credit_facts import LinkState
from domain.account.usage import Label
from domain.errors import InvalidInput, NotFound
from domain.workspace.workspace import workspace_stream

router = APIRouter(prefix="/v1/oauth", tags=["billing"])

CONNECTED_AT = """
    SELECT DISTINCT ON (data->>'provider') data->>'provider', recorded_at
    FROM event_log WHERE stream = %s AND kind = 'OAuthConnected'
    ORDER BY data->>'provider', version DESC
"""


class LinkView(msgspec.Struct, frozen=True):
    """One provider. `status` is `active`, `revoked` (by the provider), or `none`."""

    provider: str
    connected: bool
    connected_at: datetime | None
    status: str


class NewLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which provider's account to use; the deployment's only one, if left out."""

    provider: Label | None = None


_new_link = msgspec.json.Decoder(NewLink)
PROVIDER = [path_parameter("provider", "openai")]
REASON = query("reason", "`revoked`: as its provider would do it; in tests only")


@router.get("", **documented("Linked accounts", "billing:read", answers={200: list[LinkView]}))
async def every(request: Request) -> Response:
    """Every provider of this deployment."""
    call = await enter(request, "billing:read")
    return answer(await _views(call))


@router.get(
    "/{provider}",
    **documented("A linked account", "billing:read", answers={200: LinkView}, parameters=PROVIDER),
)
async def one(request: Request) -> Response:
    """Whether the user's own account pays for the models it serves."""
    call = await enter(request, "billing:read")
    return answer(await _view(call, await _provider(call, None)))


@router.post(
    "",
    **documented(
        "Link an account",
        "billing:write",
        body=NewLink,
        optional_body=True,
        answers={200: LinkView},
        examples={"openai": {"provider": "openai"}},
        keyed=False,
    ),
)
@router.post(
    "/{provider}",
    **documented(
        "Link an account at a provider",
        "billing:write",
        body=NewLink,
        optional_body=True,
        answers={200: LinkView},
        parameters=PROVIDER,
        keyed=False,
    ),
)
async def connect(request: Request) -> Response:
    """At once, and no token is kept here. 403 where the plan has no such route."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_new_link, body or b"{}")

    async def act(_: str) -> Answer:
        provider = await _provider(call, asked.provider)
        done = await call.house.ledger.connect_oauth(
            call.workspace_id, provider, f"conn_{uuid4().hex}", await call.context()
        )
        return Answer(await _view(call, provider), done.position)

    return await once(call, body, act)


@router.delete(
    "",
    **documented(
        "Unlink the account", "billing:write", answers={200: LinkView}, parameters=[REASON]
    ),
)
@router.delete(
    "/{provider}",
    **documented(
        "Unlink an account at a provider",
        "billing:write",
        answers={200: LinkView},
        parameters=[*PROVIDER, REASON],
    ),
)
async def disconnect(request: Request) -> Response:
    """Calls are paid otherwise from now on; refused (422 `oauth_rejected`) where the preference
    `api_fallback` is off."""
    call = await enter(request, "billing:write")
    reason = request.query_params.get("reason", "user")
    if reason not in ("user", "revoked"):
        raise InvalidInput(("query", "reason"), "is user or revoked")
    if reason == "revoked" and not call.house.settings.test_clock:
        raise InvalidInput(("query", "reason"), "only a provider revokes; this is no test")
    provider = await _provider(call, None)
    done = await call.house.ledger.disconnect_oauth(
        call.workspace_id,
        provider,
        "revoked" if reason == "revoked" else "user",
        await call.context(),
    )
    return answer(await _view(call, provider), done.position)


async def _provider(call: Call, named: str | None) -> str:
    """The provider that is meant.

    :raises NotFound: this deployment has none of that name.
    """
    providers = (await call.house.ledger.plans()).current.oauth_providers
    asked = call.request.path_params.get("provider") or named
    if asked is None and len(providers) == 1:
        return next(iter(providers))
    if asked is None and providers:
        raise InvalidInput(("provider",), f"name one of {', '.join(providers)}")
    if asked not in providers:
        raise NotFound("provider", asked or "at all")
    return asked


def _shown(state: LinkState | None) -> str:
    return "none" if state in (None, "unlinked") else str(state)


async def _view(call: Call, provider: str) -> LinkView:
    return next(view for view in await _views(call) if view.provider == provider)


async def _views(call: Call) -> list[LinkView]:
    stands = await standing(call)
    assert stands.account.policy is not None
    links = stands.account.policy.oauth
    async with call.house.pool.connection() as connection:
        cursor = await connection.execute(CONNECTED_AT, (workspace_stream(call.workspace_id),))
        since: dict[str, datetime] = dict(await cursor.fetchall())
    return [
        LinkView(
            provider,
            links.get(provider) == "active",
            since.get(provider) if links.get(provider) == "active" else None,
            _shown(links.get(provider)),
        )
        for provider in stands.plans.current.oauth_providers
    ]
