"""The routes about spending: may a call run, who pays, and what the customer agreed to."""

from __future__ import annotations

from fastapi import APIRouter

from api import (
    breakdown,
    budgets,
    compile,
    decisions,
    gateway,
    holds,
    links,
    preferences,
    quota,
    scripting,
)
from api.contract import routes as contract_routes

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
    gateway,
    compile,
    scripting,
):
    router.include_router(module.router)
