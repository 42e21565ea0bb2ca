"""`/v1/admin/catalogue` and `/v1/admin/plans`: the catalogue's life. Subscribers keep what they
pinned until they change plan, or an administrator migrates them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from adapters.catalogues import CatalogueUnusable
from adapters.catalogues import parse as parse_catalogue
from api.call import answer, enter, parse, read_body
from api.contract.migrating import Migration, migrate
from api.contract.plan_view import PlanView, offer_view
from api.contract.plans import up_to_date
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from api.reads import newest_position
from domain.account.usage import Label
from domain.catalogue.plan import PlanStatus
from domain.errors import InvalidInput
from projections import plans

router = APIRouter(prefix="/v1/admin", tags=["admin"])
PLAN = [path_parameter("plan_id", "starter")]


class NewCatalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole catalogue document, as YAML. `dry_run`: only say whether it is valid."""

    document: Annotated[str, Meta(min_length=1, max_length=500_000)]
    dry_run: bool = False


class CataloguePublished(msgspec.Struct, frozen=True):
    """The version in force; after a dry run, still the one before."""

    version: int
    catalogue: str
    content_sha256: str
    dry_run: bool = False


class CatalogueVersionView(msgspec.Struct, frozen=True):
    """A version of the catalogue, and how many workspaces are on its plans."""

    version: int
    catalogue: str
    content_sha256: str
    source: str
    published_at: datetime
    position: int
    subscribers: dict[str, int]


class CatalogueVersionList(msgspec.Struct, frozen=True):
    """Every version, the newest first: that one is in force."""

    data: list[CatalogueVersionView]


class NewStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`live`: sold. `dormant`: for those who have it. `hidden`: not shown either."""

    status: PlanStatus


class NewMigration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bring a plan's subscribers to the version in force. `dry_run`: only say what would change.
    `workspace_ids`: only these."""

    dry_run: bool
    workspace_ids: list[Label] | None = None


_catalogue = msgspec.json.Decoder(NewCatalogue)
_status = msgspec.json.Decoder(NewStatus)
_migration = msgspec.json.Decoder(NewMigration)


@router.post(
    "/catalogue",
    **documented(
        "Publish the next version of the catalogue",
        "admin",
        body=NewCatalogue,
        answers={201: CataloguePublished},
        examples={"yaml": {"document": "catalogue: faces\ncurrency: usd\n…"}},
        keyed=False,
        of="deployment",
    ),
)
async def publish(request: Request) -> Response:
    """For new subscriptions; existing ones keep the version that they began with. A document
    that is wrong is refused with the line and the field."""
    call = await enter(request, "admin", "deployment")
    body = await read_body(request)
    asked = parse(_catalogue, body)
    try:
        catalogue, digest = parse_catalogue(asked.document, "document")
    except CatalogueUnusable as wrong:
        raise InvalidInput(("document",), str(wrong)) from None

    async def act(_: str) -> Answer:
        ledger, context = call.house.ledger, await call.context()
        if asked.dry_run:
            plans = (await ledger.plans()).clone()
            plans.publish(catalogue, digest, context, "admin")
            version = (await ledger.plans()).current_version
        else:
            version = await ledger.publish_catalogue(catalogue, digest, context, "admin")
        said = CataloguePublished(version, catalogue.catalogue, digest, asked.dry_run)
        return Answer(said, await newest_position(call.house), 200 if asked.dry_run else 201)

    return await once(call, body, act)


@router.get(
    "/catalogue",
    **documented(
        "Versions of the catalogue", "admin", answers={200: CatalogueVersionList}, of="deployment"
    ),
)
async def versions(request: Request) -> Response:
    """Who is on an old version can be migrated."""
    call = await enter(request, "admin", "deployment")
    async with up_to_date(call.house) as (connection, _):
        found = await plans.versions(connection)
        counts = await plans.subscribers_by_version(connection)
    return answer(
        CatalogueVersionList(
            [
                CatalogueVersionView(
                    one.version,
                    one.catalogue,
                    one.content_sha256,
                    one.source,
                    one.published_at,
                    one.position,
                    counts.get(one.version, {}),
                )
                for one in found
            ]
        )
    )


@router.put(
    "/plans/{plan_id}/status",
    **documented(
        "Sell a plan, or no more",
        "admin",
        body=NewStatus,
        answers={200: PlanView},
        examples={"retire": {"status": "dormant"}},
        parameters=PLAN,
        keyed=False,
        of="deployment",
    ),
)
async def set_status(request: Request) -> Response:
    """Whoever has the plan keeps it. It stands until a published document says otherwise."""
    call = await enter(request, "admin", "deployment")
    body = await read_body(request)
    asked = parse(_status, body)
    plan_id = request.path_params["plan_id"]

    async def act(_: str) -> Answer:
        ledger = call.house.ledger
        done = await ledger.change_plan_status(plan_id, asked.status, await call.context())
        known = await ledger.plans()
        return Answer(offer_view(known.find(plan_id, ""), known.current.currency), done.position)

    return await once(call, body, act)


@router.post(
    "/plans/{plan_id}/migrate",
    **documented(
        "Migrate subscribers to the version in force",
        "admin",
        body=NewMigration,
        answers={200: Migration},
        examples={"what would change": {"dry_run": True}},
        parameters=PLAN,
        keyed=False,
        of="deployment",
    ),
)
async def migrate_plan(request: Request) -> Response:
    """Each when its cycle closes: nothing that was paid for changes before."""
    call = await enter(request, "admin", "deployment")
    body = await read_body(request)
    asked = parse(_migration, body)
    plan_id: Any = request.path_params["plan_id"]

    async def act(_: str) -> Answer:
        done = await migrate(
            call.house, plan_id, await call.context(), asked.workspace_ids, dry_run=asked.dry_run
        )
        return Answer(done, await newest_position(call.house))

    return await once(call, body, act)
