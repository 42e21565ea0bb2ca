"""Webhooks of our own: where workspaces want them, what they say, and how they are sent."""

from __future__ import annotations

from fastapi import APIRouter

from api.outgoing import deliveries, endpoints, secrets

router = APIRouter()
for part in (endpoints, secrets, deliveries):
    router.include_router(part.router)
