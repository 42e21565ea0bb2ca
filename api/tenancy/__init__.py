"""Routes of a workspace: its people, its bots, their deploys, what they store, how it stands."""

from __future__ import annotations

from fastapi import APIRouter

from api.tenancy import bots, deploys, feed, members, status, storage

router = APIRouter()
for _part in (bots, members, deploys, storage, status, feed):
    router.include_router(_part.router)
