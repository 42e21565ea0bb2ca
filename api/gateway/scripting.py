"""`POST /v1/test/upstream`: what the scripted provider does next. Absent outside of tests."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.call import answer, enter, parse, read_body
from api.openapi import documented
from api.refusals import UpstreamFailed
from domain.account.usage import Count
from domain.errors import InvalidInput, NotFound

router = APIRouter(prefix="/v1/test", tags=["test"])

PATIENCE_S = 5.0
Pieces = Annotated[int, Meta(ge=0, le=100_000)]


class ScriptUsage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens that each completion is to use, in our words or in OpenAI's."""

    input: Count = 0
    cached_input: Count = 0
    output: Pieces = 0
    reasoning: Count = 0
    input_tokens: Count = 0
    output_tokens: Pieces = 0
    prompt_tokens: Count = 0
    completion_tokens: Pieces = 0
    total_tokens: Count = 0


class UpstreamScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the provider behaves until it is told something else. `fail_mid_stream` breaks off
    behind the usage's output; `pause_after` tokens a stream waits until its reader has gone."""

    mode: Literal["ok", "error", "timeout", "fail_mid_stream"]
    usage: ScriptUsage | None = None
    pause_after: Pieces | None = None


class UpstreamDid(msgspec.Struct, frozen=True):
    """The script in force, and what was asked of the provider so far."""

    script: dict[str, Any]
    calls: int
    completed: int
    tokens: int
    as_user: int
    last: dict[str, Any] | None


_script = msgspec.json.Decoder(UpstreamScript)
_did = msgspec.json.Decoder(UpstreamDid)


@router.post(
    "/upstream",
    **documented(
        "Script the provider",
        "admin",
        body=UpstreamScript,
        answers={200: UpstreamDid},
        examples={"an answer": {"mode": "ok", "usage": {"input": 1000, "output": 200}}},
        of="deployment",
    ),
)
async def script(request: Request) -> Response:
    """In test mode, where the provider is the scripted one."""
    house = request.app.state.house
    if not house.settings.test_clock:
        raise NotFound("page", request.url.path)
    call = await enter(request, "admin", "deployment")
    asked = parse(_script, await read_body(request))
    content: dict[str, Any] = {"mode": asked.mode, "pause_after": asked.pause_after}
    if (usage := asked.usage) is not None:
        content["usage"] = {
            "input": usage.input or usage.input_tokens or usage.prompt_tokens,
            "cached_input": usage.cached_input,
            "output": usage.output or usage.output_tokens or usage.completion_tokens,
            "reasoning": usage.reasoning,
        }
    upstream = call.house.upstream
    if upstream is None:
        raise InvalidInput(("mode",), "no provider is configured: set UPSTREAM_URL")
    where = urlsplit(upstream.url)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
            said = await http.post(f"{where.scheme}://{where.netloc}/script", json=content)
        return answer(_did.decode(said.raise_for_status().content))
    except (httpx.HTTPError, msgspec.DecodeError):
        raise UpstreamFailed("The provider is not the scripted one.") from None
