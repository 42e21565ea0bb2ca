"""`/v1/audit/verify` and `/v1/audit/checkpoints`: whether the log is what was signed."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.auditing.streams import asked_stream
from api.auditing.trust import Trust, trust_of, verified
from api.call import answer, enter
from api.openapi import documented, query
from api.reading import cursor_of, limit_of, position_of_cursor
from api.reads import newest_position
from domain.chain import Checkpoint
from domain.errors import Forbidden
from projections.audit_trail import SEALED
from projections.verify import Verdict

router = APIRouter(prefix="/v1/audit", tags=["audit"])

PAGE = f"{SEALED} WHERE position > %s ORDER BY position LIMIT %s"
RECIPE = (
    "event_hash = SHA-256 of RFC 8785 canonical JSON of {position, stream, version, type, "
    "recorded_at, payload} as in SELECT position, stream, version, kind, data->>'at', data FROM "
    "event_log; chain_hash = SHA-256(chain_hash before it || event_hash) in order of position, "
    "from 32 zero bytes; a checkpoint signs, with Ed25519, RFC 8785 canonical JSON of {at, "
    "chain_hash, position}. Whole numbers beyond 2^53 - 1 are hashed as strings."
)


class ProblemView(msgspec.Struct, frozen=True):
    """Where the log is not what was chained. `chained` and `found` are event hashes."""

    position: int
    kind: str
    stream_id: str | None
    chained: str | None
    found: str | None


class FailedView(msgspec.Struct, frozen=True):
    """A checkpoint that does not hold: of the table, or as it was published."""

    position: int
    where: str
    reason: str


class Checkpoints(msgspec.Struct, frozen=True):
    """How many checkpoints there are, and which fail (the first 100). `published` is null where
    nothing is published; `last_good` is the position up to which the log is signed for."""

    stored: int
    published: int | None
    published_file_found: bool
    last_good: int
    failed_count: int
    failed: list[FailedView]


class Verification(msgspec.Struct, frozen=True):
    """What `verify` found. `first_position` is the first one that differs; where only checkpoints
    tell, it is null, and the first change stands behind `checkpoints.last_good`."""

    intact: bool
    stream: str | None
    events: int
    position: int
    chain_hash: str
    first_position: int | None
    problem_count: int
    problems: list[ProblemView]
    checkpoints: Checkpoints
    unsealed_events: int
    unchained_events: int
    as_of_position: int


class CheckpointView(msgspec.Struct, frozen=True):
    """One signed checkpoint. `signature` is base64, `chain_hash` hexadecimal."""

    position: int
    chain_hash: str
    at: str
    key_id: str
    signature: str


class KeyView(msgspec.Struct, frozen=True):
    """A public key that checkpoints are believed by."""

    key_id: str
    algorithm: str
    public_key: str  # 32 bytes in hexadecimal
    pem: str


class CheckpointPage(msgspec.Struct, frozen=True):
    """Checkpoints, oldest first, and what it takes to verify them without us. `published_in` is
    the file outside the database, for keys that are bound to no workspace."""

    data: list[CheckpointView]
    has_more: bool
    next_cursor: str | None
    public_keys: list[KeyView]
    published_in: str | None
    recipe: str
    as_of_position: int


@router.get(
    "/verify",
    **documented(
        "Verify the log",
        "audit:read",
        answers={200: Verification},
        parameters=[
            query("stream", "One stream only, such as credit_account/ws_1"),
            query("all", "All streams; so it is where no stream is named"),
        ],
        of="anything",
    ),
)
async def verify(request: Request) -> Response:
    """Every hash made anew from the events, against the chain and the signed checkpoints, those
    outside the database included. Takes as long as the log is."""
    call = await enter(request, "audit:read", "anything")
    name = request.query_params.get("stream")
    if name == "all":
        name = None
    if name is None and call.caller.workspace_id is not None:
        raise Forbidden("This key is bound to one workspace: name one of its streams.")
    stream = await asked_stream(call, name)
    settings = call.house.settings
    trust = trust_of(settings.sealing)
    conninfo = settings.database.conninfo(application_name="daybook-audit")
    verdict = await asyncio.to_thread(verified, conninfo, trust, stream)
    return answer(seen(verdict, trust, name, await newest_position(call.house)))


def seen(verdict: Verdict, trust: Trust, name: str | None, newest: int) -> Verification:
    """A verdict as it is told."""
    return Verification(
        verdict.is_intact,
        name,
        verdict.events,
        verdict.position,
        verdict.chain_hash.hex(),
        verdict.first_position,
        verdict.problem_count,
        [
            ProblemView(
                one.position,
                one.kind,
                None if one.stream is None else str(one.stream),
                one.chained,
                one.found,
            )
            for one in verdict.problems
        ],
        Checkpoints(
            verdict.stored,
            verdict.published,
            trust.is_there,
            verdict.sealed,
            verdict.failed_count,
            [FailedView(*one) for one in verdict.failed],
        ),
        verdict.unsealed,
        verdict.waiting,
        newest,
    )


@router.get(
    "/checkpoints",
    **documented(
        "Signed checkpoints",
        "audit:read",
        answers={200: CheckpointPage},
        parameters=[
            query("limit", "1 to 100", kind="integer"),
            query("cursor", "Where to go on"),
        ],
        of="anything",
    ),
)
async def checkpoints(request: Request) -> Response:
    """What the log was, signed: with the public keys, and how to verify it without this API."""
    call = await enter(request, "audit:read", "anything")
    limit, after = limit_of(request), position_of_cursor(request)
    trust = trust_of(call.house.settings.sealing)
    newest = await newest_position(call.house)
    async with call.house.pool.connection() as connection:
        rows = await (await connection.execute(PAGE.encode(), (after, limit + 1))).fetchall()
    data = [checkpoint_view(*row) for row in rows[:limit]]
    more = len(rows) > limit
    where = None if trust.file is None or call.caller.workspace_id else str(trust.file)
    keys = [KeyView(one.key_id, "Ed25519", one.raw.hex(), one.pem) for one in trust.keys.keys]
    following = cursor_of(data[-1].position) if more else None
    return answer(CheckpointPage(data, more, following, keys, where, RECIPE, newest))


def checkpoint_view(
    position: int, chain_hash: bytes, at: datetime, key_id: str, signature: bytes
) -> CheckpointView:
    """A row of the table as it is told."""
    sealed = Checkpoint(position, bytes(chain_hash), at, key_id, bytes(signature))
    return CheckpointView(
        position,
        sealed.chain_hash.hex(),
        sealed.stamp,
        key_id,
        b64encode(sealed.signature).decode(),
    )
