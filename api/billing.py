"""`/v1/billing`: what an account holds, and what models cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter
from api.freshness import CONSISTENCY
from api.openapi import documented, query
from api.reading import instant_of
from api.reads import newest_position, reading
from api.standing import Standing, standing
from domain.errors import InvalidInput
from domain.money import usd
from projections import balances

router = APIRouter(prefix="/v1/billing", tags=["billing"])


class BucketView(msgspec.Struct, frozen=True):
    """Included units. `resets_at` is null where they are granted once."""

    name: str
    granted: int
    used: int
    remaining: int
    resets_at: datetime | None


class GrantView(msgspec.Struct, frozen=True):
    """Money that came in together, in the order in which grants are spent."""

    grant_id: str
    remaining_micros: int
    remaining_usd: Decimal
    category: str
    priority: int
    expires_at: datetime | None


class BalanceView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an account holds. `grants` and `debt_micros` come with `include=grants` and with
    `consistency=strong`."""

    workspace_id: str
    currency: str
    balance_usd: Decimal
    balance_micros: int
    held_micros: int
    available_micros: int
    available_usd: Decimal
    is_frozen: bool
    frozen: bool
    freeze_reasons: list[str]
    has_payment_method: bool
    plan: str
    buckets: list[BucketView]
    as_of_position: int
    grants: list[GrantView] | msgspec.UnsetType = msgspec.UNSET
    debt_micros: int | msgspec.UnsetType = msgspec.UNSET


class ModelCost(msgspec.Struct, frozen=True):
    """One model's price for a million tokens, before the markup."""

    provider: str
    llm_model: str
    input_usd_per_m: Decimal
    cached_input_usd_per_m: Decimal
    output_usd_per_m: Decimal


class ModelCosts(msgspec.Struct, frozen=True):
    """The price book in force at an instant; nulls where there is none."""

    price_book_version: int | None
    effective_from: datetime | None
    currency: str | None
    markup_bps: int | None
    data: list[ModelCost]
    as_of_position: int


@router.get(
    "/balance",
    **documented(
        "The balance",
        "billing:read",
        answers={200: BalanceView},
        parameters=[
            query("consistency", "`strong` reads the ledger itself", enum=CONSISTENCY),
            query("include", "`grants`: what the balance is made of", enum=("grants",)),
            query("min_position", "Wait until this position is in it", kind="integer"),
        ],
    ),
)
async def balance(request: Request) -> Response:
    """What an account holds and whether it may spend."""
    call = await enter(request, "billing:read")
    strong = request.query_params.get("consistency") == "strong"
    include = request.query_params.get("include")
    if include not in (None, "grants"):
        raise InvalidInput(("query", "include"), "is `grants`, or left out")
    if strong or include == "grants":
        return answer(await _strong(call))
    async with reading(call, "balances") as (connection, position):
        row = await balances.balance(connection, call.workspace_id)
    if row is None:  # just opened: the ledger knows it, or nobody does
        return answer(await _strong(call))
    stands = await standing(call)
    return answer(
        _view(
            stands,
            row.balance,
            row.is_frozen,
            [reason.partition(":")[0] for reason in row.freeze_reasons],
            row.plan_id,
            position,
            has_card=row.has_payment_method,
        )
    )


async def _strong(call: Call) -> BalanceView:
    position = await newest_position(call.house)
    account = await call.house.ledger.account(call.workspace_id)
    stands = await standing(call)
    view = _view(
        stands,
        account.balance,
        account.is_frozen,
        [reason for reason, _ in account.freezes],
        account.plan,
        position,
        has_card=stands.workspace.payment_method is not None,
    )
    grants = [
        GrantView(
            grant.grant_id,
            grant.remaining,
            usd(grant.remaining),
            grant.category,
            grant.priority,
            grant.expires_at,
        )
        for grant in account.wallet.grants
    ]
    return msgspec.structs.replace(view, grants=grants, debt_micros=account.wallet.debt)


def _view(
    stands: Standing,
    amount: int,
    is_frozen: bool,
    reasons: list[str],
    plan: str,
    position: int,
    *,
    has_card: bool,
) -> BalanceView:
    """``amount`` is what the events say up to ``position``; how the workspace stands also knows
    what time did since: holds and grants that expired, a cycle that ended."""
    account = stands.account
    end = account.policy.period_end if account.policy else None
    # What was recorded after ``position`` is in neither figure, so that they fit together.
    available = account.available - stands.recorded + amount
    return BalanceView(
        account.workspace_id,
        account.currency,
        usd(amount),
        amount,
        account.held,
        available,
        usd(available),
        is_frozen,
        is_frozen,
        list(dict.fromkeys(reasons)),
        has_card,
        plan,
        [
            BucketView(
                name,
                bucket.granted,
                bucket.used,
                bucket.remaining,
                bucket.resets_at(end),
            )
            for name, bucket in account.buckets.items()
        ],
        position,
    )


@router.get(
    "/llm-costs",
    **documented(
        "What models cost",
        "billing:read",
        answers={200: ModelCosts},
        parameters=[
            query("provider", "Only this provider's models"),
            query("as_of", "The prices in force at this time; now, if left out"),
        ],
        of="anything",
    ),
)
async def llm_costs(request: Request) -> Response:
    """Every model's price; a charge's `price_book_version` is found here."""
    call = await enter(request, "billing:read", "anything")
    provider = request.query_params.get("provider")
    at = instant_of(request, "as_of") or await call.house.clock.now()
    position = await newest_position(call.house)
    book = (await call.house.ledger.prices()).at(at)
    if book is None:
        return answer(ModelCosts(None, None, None, None, [], position))
    data = [
        ModelCost(
            entry.provider,
            entry.model,
            usd(entry.input),
            usd(entry.cached_input),
            usd(entry.output),
        )
        for entries in book.entries.values()
        for entry in entries
        if provider is None or entry.provider == provider
    ]
    data.sort(key=lambda cost: (cost.provider, cost.llm_model))
    return answer(
        ModelCosts(
            book.version, book.effective_from, book.currency, book.markup_bps, data, position
        )
    )
