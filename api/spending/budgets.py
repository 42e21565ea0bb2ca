"""`/v1/billing/budgets`: caps that customers set on their own spending."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.amounts import micros
from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from api.reads import newest_position
from api.standing import Standing, standing
from domain.account.budget import Budget, On, left, window_of
from domain.account.usage import Label
from domain.errors import InvalidInput, NotFound
from domain.money import usd

router = APIRouter(prefix="/v1/billing/budgets", tags=["billing"])

Per = Literal["day", "cycle"]


class NewBudget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cap a day (UTC) or a cycle. `value` names the key, face, bot or thread; none for the
    workspace. A hard one refuses with 402, a soft one is an event when it is passed."""

    limit_usd: Decimal
    on: On = "workspace"
    value: Label | None = None
    per: Per = "cycle"
    hard: bool = False


class BudgetView(msgspec.Struct, frozen=True):
    """A cap, what was spent of it in the window that runs (wallet money and overage), and what
    is left with calls under way taken off."""

    budget_id: str
    on: On
    value: str | None
    per: Per
    hard: bool
    limit_usd: Decimal
    limit_micros: int
    spent_usd: Decimal
    spent_micros: int
    left_usd: Decimal
    left_micros: int
    window: str
    warned: bool


class BudgetList(msgspec.Struct, frozen=True):
    """Every cap of a workspace."""

    data: list[BudgetView]
    as_of_position: int


class Removed(msgspec.Struct, frozen=True):
    """The cap is lifted."""

    budget_id: str
    removed: Literal[True] = True


_budget = msgspec.json.Decoder(NewBudget)
ID = [path_parameter("budget_id", "alice-daily")]


@router.get("", **documented("Budgets", "billing:read", answers={200: BudgetList}))
async def every(request: Request) -> Response:
    """All caps, by id."""
    call = await enter(request, "billing:read")
    position = await newest_position(call.house)
    stands = await standing(call)
    budgets = sorted(stands.account.budgets.items())
    return answer(BudgetList([_view(stands, budget) for _, budget in budgets], position))


@router.get(
    "/{budget_id}",
    **documented("A budget", "billing:read", answers={200: BudgetView}, parameters=ID),
)
async def one(request: Request) -> Response:
    """A cap and how much of it is spent."""
    call = await enter(request, "billing:read")
    return answer(await _of(call, _id(call)))


@router.put(
    "/{budget_id}",
    **documented(
        "Set a budget",
        "billing:write",
        body=NewBudget,
        answers={200: BudgetView},
        examples={
            "alice": {"on": "face", "value": "alice", "limit_usd": 5, "per": "day", "hard": True}
        },
        parameters=ID,
        keyed=False,
    ),
)
async def put(request: Request) -> Response:
    """The same id again changes it; what was spent stays spent."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_budget, body)
    limit = micros(asked.limit_usd, "limit_usd", digits=6)
    if limit < 0:
        raise InvalidInput(("limit_usd",), "must not be negative")
    budget_id = _id(call)

    async def act(_: str) -> Answer:
        done = await call.house.ledger.set_budget(
            call.workspace_id,
            budget_id,
            asked.on,
            asked.value,
            limit,
            asked.per,
            asked.hard,
            await call.context(),
        )
        return Answer(await _of(call, budget_id), done.position)

    return await once(call, body, act)


@router.delete(
    "/{budget_id}",
    **documented("Lift a budget", "billing:write", answers={200: Removed}, parameters=ID),
)
async def remove(request: Request) -> Response:
    """Nothing is capped by it any more."""
    call = await enter(request, "billing:write")
    budget_id = _id(call)
    done = await call.house.ledger.remove_budget(call.workspace_id, budget_id, await call.context())
    return answer(Removed(budget_id), done.position)


def _id(call: Call) -> str:
    budget_id: str = call.request.path_params["budget_id"]
    if len(budget_id) > 255:
        raise InvalidInput(("path", "budget_id"), "must have at most 255 characters")
    return budget_id


async def _of(call: Call, budget_id: str) -> BudgetView:
    stands = await standing(call)
    budget = stands.account.budgets.get(budget_id)
    if budget is None:
        raise NotFound("budget", budget_id)
    return _view(stands, budget)


def _view(stands: Standing, budget: Budget) -> BudgetView:
    account, now = stands.account, stands.context.now
    cycle_id = stands.subscription.cycle_id
    window = window_of(budget, now, cycle_id)
    spent = budget.spent_in(window)
    rest = left(budget, account.holds.values(), now, cycle_id)
    return BudgetView(
        budget.budget_id,
        budget.on,
        budget.value,
        budget.per,
        budget.hard,
        usd(budget.limit),
        budget.limit,
        usd(spent),
        spent,
        usd(rest),
        rest,
        window,
        budget.warned == window,
    )
