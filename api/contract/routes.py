"""Every route of the contract: plans, subscriptions, changes of them, and invoices."""

from __future__ import annotations

from fastapi import APIRouter

from api.contract import (
    catalogue,
    checkout,
    custom_plans,
    invoices,
    overage,
    plan_change,
    plans,
    subscription,
)

router = APIRouter()
for _part in (
    subscription,
    checkout,
    plan_change,
    overage,
    plans,
    custom_plans,
    catalogue,
    invoices,
):
    router.include_router(_part.router)
