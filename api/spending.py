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
    overage,
    preferences,
    quota,
    scripting,
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
    gateway,
    compile,
    scripting,
):
    router.include_router(module.router)
