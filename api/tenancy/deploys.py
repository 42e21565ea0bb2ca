"""`/v1/workspaces/{id}/deploys/authorize`: may a bot be deployed now?"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Literal
from uuid import uuid4, uuid5

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.tenancy.banner import portal_path
from api.words import Reference
from domain.account.usage import Label
from domain.identity import NAMESPACE
from domain.workspace.facts import DeployKind

router = APIRouter(prefix="/v1/workspaces/{workspace_id}/deploys", tags=["workspaces"])


class Deploy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deploy of a bot. A `deploy_id` belongs to one bot; the answer is always that of now. An
    unpaid invoice never blocks a `restart`; whether it does a `rollback` the catalogue says."""

    bot_id: Label
    deploy_id: Reference | None = None
    kind: DeployKind = "deploy"


class ComputeView(msgspec.Struct, frozen=True):
    """What the bot may use under the plan; null where the plan sets no cap."""

    vcpu: Decimal | None
    ram_mb: Decimal | None


class Allowed(msgspec.Struct, frozen=True):
    """The deploy may run, with these caps."""

    allowed: Literal[True]
    compute: ComputeView
    deploy_id: str


_deploy = msgspec.json.Decoder(Deploy)


@router.post(
    "/authorize",
    **documented(
        "May a bot be deployed?",
        "usage:write",
        body=Deploy,
        answers={200: Allowed},
        examples={"a deploy": {"bot_id": "b01", "deploy_id": "dep_1"}},
        keyed=False,
        of="path",
    ),
)
async def authorize(request: Request) -> Response:
    """402 `account_frozen`, or `deploy_blocked_past_due` once the grace of an unpaid invoice is
    over; a bot that runs already is never touched. 409 `bot_paused` and 403 `plan_limit_reached`
    are about the bot itself."""
    call = await enter(request, "usage:write", "path")
    body = await read_body(request)
    asked = parse(_deploy, body)

    async def act(key: str) -> Answer:
        sent = "idempotency-key" in request.headers
        number = uuid5(NAMESPACE, f"deploy/{call.workspace_id}/{key}") if sent else uuid4()
        deploy_id = asked.deploy_id or f"deploy_{number.hex}"
        context = await call.context()
        portal = portal_path(call, context.now)
        verdict, position = await call.house.ledger.authorize_deploy(
            call.workspace_id, deploy_id, asked.bot_id, portal, context, asked.kind
        )
        if verdict.refusal is not None:
            raise verdict.refusal
        compute = ComputeView(_number(verdict.compute.vcpu), _number(verdict.compute.ram_mb))
        return Answer(Allowed(True, compute, deploy_id), position)

    return await once(call, body, act)


def _number(value: int | str | None) -> Decimal | None:
    try:
        return None if value is None else Decimal(value)
    except InvalidOperation:
        return None  # a word, such as "unlimited"
