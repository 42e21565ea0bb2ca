"""The routes about spending: may a call run, who pays, and what the customer agreed to."""

from __future__ import annotations

from fastapi import APIRouter

from api import breakdown
from api.contract import routes as contract_routes
from api.gateway import compile, completions, scripting
from api.spending import budgets, decisions, holds, links, preferences, quota

router = APIRouter()
router.include_router(contract_routes.router)
for module in (
    holds,
    decisions,
    quota,
    preferences,
    links,
    budgets,
    breakdown,
    completions,
    compile,
    scripting,
):
    router.include_router(module.router)
