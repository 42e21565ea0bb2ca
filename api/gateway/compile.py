"""`/v1/compile`: interviews and documents, each a metered call to a model. Texts are not kept."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, enter, parse, read_body
from api.gateway.completions import model_of
from api.gateway.metered import OUTPUT_DEFAULT, Ask, label, provider_of, run
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from api.usage import Charged, charged_of
from domain.account.hold_facts import BillingSource, Labels
from domain.account.usage import Count, Label
from domain.catalogue.catalogue import Catalogue
from domain.errors import InvalidInput

router = APIRouter(prefix="/v1/compile", tags=["gateway"])

Text = Annotated[str, Meta(max_length=1_000_000)]


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is to do: a `message`, or the whole conversation in `messages`. `model`
    (or `llm_model`) may be `alias@model`; the first one with a price, if left out."""

    message: Text | None = None
    messages: list[dict[str, Any]] | None = None
    model: Label | None = None
    llm_model: Label | None = None
    face_id: Label | None = None
    bot_id: Label | None = None
    max_output_tokens: Count | None = None
    billing_source: BillingSource | None = None
    interviewer_billing_source: BillingSource | None = None


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model said, and what it cost."""

    id: str
    message: dict[str, Any]
    usage: dict[str, Any]
    billing: Charged
    thread_id: str | None = None
    document_id: str | None = None


_work = msgspec.json.Decoder(Work)
EXAMPLE = {"an interview": {"message": "Hello", "model": "alice@gpt-5.4", "face_id": "face_1"}}


@router.post(
    "/threads",
    **documented(
        "Start an interview",
        "usage:write",
        body=Work,
        answers={201: Done},
        examples=EXAMPLE,
        keyed=False,
    ),
)
async def start(request: Request) -> Response:
    """402 before the provider is asked if nobody pays, 502 if it fails; then nothing is charged."""
    return await _carry_out(request, "interview", thread_id=f"thread_{uuid4().hex}")


@router.post(
    "/threads/{thread_id}/messages",
    **documented(
        "Continue an interview",
        "usage:write",
        body=Work,
        answers={201: Done},
        examples=EXAMPLE,
        parameters=[path_parameter("thread_id", "thread_…")],
        keyed=False,
    ),
)
async def proceed(request: Request) -> Response:
    """As the start of one."""
    return await _carry_out(request, "interview", thread_id=request.path_params["thread_id"])


@router.post(
    "/documents/{document_id}/make",
    **documented(
        "Compile a document",
        "usage:write",
        body=Work,
        answers={201: Done},
        examples={"a face": {"message": "Compile", "face_id": "face_1", "max_output_tokens": 500}},
        parameters=[path_parameter("document_id", "doc_1")],
        keyed=False,
    ),
)
async def make(request: Request) -> Response:
    """Uses the compile quota; beyond it the balance, if overflow is allowed."""
    return await _carry_out(request, "compile", document_id=request.path_params["document_id"])


async def _carry_out(
    request: Request, meter: str, *, thread_id: str | None = None, document_id: str | None = None
) -> Response:
    call = await enter(request, "usage:write")
    body = await read_body(request)
    work = parse(_work, body)
    label(thread_id, "path", "thread_id")
    label(document_id, "path", "document_id")
    ask = _ask(call, work, meter, thread_id, (await call.house.ledger.plans()).current)

    async def act(key: str) -> Answer:
        content, charge = await run(call, ask, key)
        billing = charged_of(charge)
        assert isinstance(billing, Charged)  # these meters count every call
        return Answer(
            Done(
                thread_id or document_id or "",
                content["choices"][0]["message"],
                content.get("usage") or {},
                billing,
                thread_id,
                document_id,
            ),
            charge.position,
            201,
        )

    return await once(call, body, act)


def _ask(call: Call, work: Work, meter: str, thread_id: str | None, catalogue: Catalogue) -> Ask:
    one, other = work.billing_source, work.interviewer_billing_source
    if one is not None and other is not None and one != other:
        raise InvalidInput(("interviewer_billing_source",), "says something else")
    if work.model is not None and work.llm_model not in (None, work.model):
        raise InvalidInput(("llm_model",), "says something else than model")
    if work.message and work.messages:
        raise InvalidInput(("message",), "give either a message, or the whole conversation")
    priced = catalogue.price_book.per_million_usd if catalogue.price_book else {}
    named = work.model or work.llm_model or next(iter(priced), None)
    if named is None:
        raise InvalidInput(("model",), "must be given: this deployment has no price list")
    alias, model = model_of(named)
    most = work.max_output_tokens or OUTPUT_DEFAULT
    messages = work.messages or [{"role": "user", "content": work.message or ""}]
    return Ask(
        meter,
        None,
        Labels(
            model,
            call.caller.key_id,
            alias,
            work.face_id,
            work.bot_id,
            thread_id,
            provider=provider_of(call),
        ),
        {"model": model, "messages": messages, "max_completion_tokens": most},
        most,
        one or other,
    )
