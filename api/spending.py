"""The routes about spending: may a call run, who pays, and what the customer agreed to."""

from __future__ import annotations

from fastapi import APIRouter

from api import (
    breakdown,
    budgets,
    decisions,
    holds,
    links,
    overage,
    preferences,
    quota,
    subscription,
)

router = APIRouter()
for module in (
    holds,
    decisions,
    quota,
    overage,
    preferences,
    links,
    budgets,
    subscription,
    breakdown,
):
    router.include_router(module.router)
