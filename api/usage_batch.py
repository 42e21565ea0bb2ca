"""`/v1/usage/batch`: many acts in one request, each charged or refused for itself."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api import problems
from api.call import Call, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.usage import EXAMPLE, charged_of, count, status_of
from domain.account.charge import Charge
from domain.account.usage import Usage
from domain.errors import InvalidInput, Refusal

router = APIRouter(prefix="/v1/usage", tags=["usage"])

BATCH_MAX = 1_000


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 acts, each charged for itself."""

    items: list[Usage]


class RawBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch whose items are looked at one by one."""

    items: list[msgspec.Raw]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one act of a batch ended: `result` as of the single call, or a `problem`."""

    index: int
    status: int
    event_id: str | None
    result: Any = msgspec.UNSET
    problem: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class BatchResult(msgspec.Struct, frozen=True):
    """One result for each act, in the order in which they were sent."""

    results: list[ItemResult]
    charged: int
    refused: int


class EventId(msgspec.Struct):
    """What is read of an item that is wrong elsewhere."""

    event_id: str | None = None


_usage = msgspec.json.Decoder(Usage)
_batch = msgspec.json.Decoder(list[msgspec.Raw] | RawBatch)
_event_id = msgspec.json.Decoder(EventId)


@router.post(
    "/batch",
    **documented(
        "Charge up to 1,000 acts",
        "usage:write",
        body=Batch,
        answers={200: BatchResult},
        examples={"two": {"items": [EXAMPLE, {**EXAMPLE, "event_id": "req_01J"}]}},
        keyed=False,
    ),
)
async def charge_batch(request: Request) -> Response:
    """Each act is charged or refused for itself, in order, and safe to send again. The body is
    an array, or an object with `items`."""
    call = await enter(request, "usage:write")
    body = await read_body(request)
    given = parse(_batch, body, whole=False)
    items = given if isinstance(given, list) else given.items
    if not 1 <= len(items) <= BATCH_MAX:
        raise InvalidInput(("items",), f"a batch has 1 to {BATCH_MAX} items, not {len(items)}")
    return await once(call, body, lambda _: _charge_items(call, items))


async def _charge_items(call: Call, items: list[msgspec.Raw]) -> Answer:
    context = await call.context()
    results: list[ItemResult | None] = [None] * len(items)
    usages: list[Usage] = []
    places: list[int] = []
    for index, item in enumerate(items):
        try:
            usages.append(_item(item))
            places.append(index)
        except InvalidInput as wrong:
            results[index] = _refused(call, index, _event_id_of(item), wrong)
    position = 0
    ends = await call.house.ledger.charge_many(call.workspace_id, usages, context)
    for index, usage, end in zip(places, usages, ends, strict=True):
        if isinstance(end, Charge):
            position = max(position, end.position)
            count(call, end)
            results[index] = ItemResult(index, status_of(end), usage.event_id, charged_of(end))
        elif isinstance(end, Refusal):
            results[index] = _refused(call, index, usage.event_id, end)
        else:
            raise end
    done = [result for result in results if result is not None]
    refused = sum(result.status >= 400 for result in done)
    undecided = any(result.status >= 500 for result in done)
    return Answer(
        BatchResult(done, len(done) - refused, refused), position or None, provisional=undecided
    )


def _item(item: msgspec.Raw) -> Usage:
    return parse(_usage, bytes(item))


def _event_id_of(item: msgspec.Raw) -> str | None:
    try:
        return _event_id.decode(item).event_id
    except (ValueError, OverflowError, RecursionError):
        return None


def _refused(call: Call, index: int, event_id: str | None, refusal: Refusal) -> ItemResult:
    count(call, refusal)
    made = problems.problem(refusal, f"{call.request.url.path}#{index}")
    return ItemResult(index, made.status, event_id, problem=made.members)
