"""`POST /v1/chat/completions`: the OpenAI shape in front of any provider, metered."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from adapters.upstream import UpstreamError
from api import problems
from api.call import Call, enter, parse, read_body
from api.gateway.metered import (
    OUTPUT_DEFAULT,
    Ask,
    begin,
    failed,
    label,
    provider_of,
    run,
    spent,
    upstream_of,
)
from api.gateway.streaming import CompletionStream, Record, replayed
from api.idempotency import Answer, Kept, claim, once, sent_key
from api.openapi import documented
from domain.account.charge import Charge
from domain.account.hold_facts import BillingSource, Labels
from domain.account.usage import Count, Label
from domain.catalogue.catalogue import Catalogue
from domain.errors import InvalidInput, Refusal

router = APIRouter(prefix="/v1", tags=["gateway"])

METERS = ("chat", "chat_generation")
OURS = ("billing_source",)
NAMES = ("face_id", "bot_id", "thread_id")
"""What `metadata` may say of a call, in the order of its labels."""


class StreamOptions(msgspec.Struct, frozen=True):
    """`include_usage`: the last chunk says what was used."""

    include_usage: bool | None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """An OpenAI request; whatever else it holds goes to the provider as it is. `model` may name
    an alias too: `alice@gpt-5.4`. `metadata` may hold `face_id`, `bot_id` and `thread_id`;
    `billing_source` asks for one source."""

    model: Label
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    metadata: dict[str, str] | None = None
    billing_source: BillingSource | None = None


class Completion(msgspec.Struct, frozen=True):
    """The provider's answer, as OpenAI documents it."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]


_completion = msgspec.json.Decoder(ChatCompletion)


@router.post(
    "/chat/completions",
    **documented(
        "A chat completion, metered",
        "usage:write",
        body=ChatCompletion,
        answers={200: Completion},
        examples={
            "hello": {
                "model": "alice@gpt-5.4",
                "messages": [{"role": "user", "content": "Hello"}],
                "max_completion_tokens": 500,
            }
        },
        keyed=False,
    ),
)
async def complete(request: Request) -> Response:
    """Authorised first, charged by the real usage afterwards. 402 if nobody pays and 502 if the
    provider fails, both in OpenAI's error shape too; neither is ever charged. Where the provider
    refuses the request itself, the 502 holds its status and its words.

    With `stream` the answer comes as server-sent events: the last is `[DONE]`, behind the
    charge, or an `error`. Whoever leaves early is charged for what was generated until then.
    Budgets that are spent are named in the header `X-Daybook-Budget-Warning`; a stream names
    there those of before the call, and those of behind it as `budget_warnings` beside the usage
    in its last chunk, or in a comment where no usage was asked for.

    With an Idempotency-Key the same request asks the provider once and is charged once: sent
    again it gets the same answer, a stream's chunks at once, with `Idempotent-Replayed: true`;
    409 `idempotency_in_progress` while the first one runs; 422 `idempotency_key_reuse` with
    another body. What failed is not kept. Of a stream that its client left, what was paid for is
    kept, and ends with an `error`; one longer than 1 MB is not kept: 409 `answer_not_kept`."""
    try:
        call = await enter(request, "usage:write")
        body = await read_body(request)
        asked = parse(_completion, body)
        ask = _ask(call, asked, body, (await call.house.ledger.plans()).current)
        if asked.stream:
            return await _stream_once(call, asked, ask, body)
        return await once(call, body, lambda key: _kept(call, ask, key))
    except Refusal as refusal:
        return refused(request, refusal).response()


async def _kept(call: Call, ask: Ask, key: str) -> Answer:
    try:
        content, charge = await run(call, ask, key)
    except Refusal as refusal:
        made = refused(call.request, refusal)
        return Answer(made.members, None, made.status, made.headers)
    return Answer(content, charge.position, 200, _headers(charge))


async def _stream_once(call: Call, asked: ChatCompletion, ask: Ask, body: bytes) -> Response:
    key = sent_key(call, required=False)
    if key is None:
        return await _stream(call, asked, ask, uuid4().hex, None)
    claimed = await claim(call, key, body)
    if isinstance(claimed, Kept):
        return replayed(claimed)
    try:
        return await _stream(call, asked, ask, key, Record(claimed))
    except Refusal as refusal:
        made = refused(call.request, refusal)
        await claimed.settle(Kept(made.status, made.body, None, made.headers))
        raise
    except BaseException:
        await claimed.settle(None)
        raise


async def _stream(
    call: Call, asked: ChatCompletion, ask: Ask, key: str, record: Record | None
) -> Response:
    options = asked.stream_options
    catalogue = (await call.house.ledger.plans()).current
    upstream = upstream_of(call)
    metered = await begin(call, ask, key)
    try:
        stream = await upstream.stream(ask.body, as_user=metered.as_user)
    except UpstreamError as error:
        await metered.release("upstream_failed")
        raise failed(error) from None
    except BaseException:
        await metered.release("client_cancelled")
        raise
    return CompletionStream(
        stream,
        metered,
        ask,
        with_usage=bool(options and options.include_usage),
        charge_delivered=catalogue.mid_stream_failure == "charge_delivered",
        record=record,
        refused=lambda refusal: refused(call.request, refusal).response(),
    )


def _ask(call: Call, asked: ChatCompletion, body: bytes, catalogue: Catalogue) -> Ask:
    meter = next((name for name in METERS if name in catalogue.meters), METERS[0])
    alias, model = model_of(asked.model)
    sent: dict[str, Any] = msgspec.json.decode(body)
    sent["model"] = model
    for name in OURS:
        sent.pop(name, None)
    if asked.stream:
        sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    labels = asked.metadata or {}
    most = asked.max_completion_tokens or asked.max_tokens or OUTPUT_DEFAULT
    terms = catalogue.meters.get(meter)
    return Ask(
        meter,
        "chat" if terms is not None and "chat" in terms.billable_actions else None,
        Labels(
            model,
            call.caller.key_id,
            alias,
            **{name: label(labels.get(name), "metadata", name) for name in NAMES},
            provider=provider_of(call),
        ),
        sent,
        most * (asked.n or 1),
        asked.billing_source,
    )


def model_of(name: str) -> tuple[str | None, str]:
    """(alias, model) of `alias@model`, or (None, model).

    :raises InvalidInput: one of them is empty.
    """
    alias, at, model = name.rpartition("@")
    if not model or (at and not alias):
        raise InvalidInput(("model",), "is a model, or alias@model")
    return alias or None, model


def refused(request: Request, refusal: Refusal) -> problems.Problem:
    """A refusal that OpenAI's own clients understand too."""
    made = problems.problem(refusal, request.url.path)
    made.members["error"] = {
        "message": made.members["detail"],
        "type": refusal.code,
        "param": None,
        "code": refusal.code,
    }
    return made


def _headers(charge: Charge) -> dict[str, str]:
    """What the provider's shape has no room for: the act's id, and budgets that are spent."""
    headers = {"X-Daybook-Usage-Id": charge.usage_id} if charge.usage_id else {}
    return headers | spent(charge.budgets)
