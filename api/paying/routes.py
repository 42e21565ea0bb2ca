"""Every route of card payments."""

from __future__ import annotations

from fastapi import APIRouter

from api.paying import auto_topup, card_setup, payments, portal, refunds, topup

router = APIRouter()
for _part in (topup, card_setup, auto_topup, portal, refunds, payments):
    router.include_router(_part.router)
