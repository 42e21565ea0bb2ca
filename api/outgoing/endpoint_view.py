"""An endpoint as it is shown, and as a request names it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from adapters.postgres import endpoints
from adapters.postgres.endpoints import Endpoint
from api.call import Call
from api.openapi import path_parameter
from domain.errors import NotFound
from domain.money import usd

PATH = "/v1/billing/webhook-endpoints"
ONE = [path_parameter("endpoint_id", "we_1")]
State = Literal["enabled", "disabled"]


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint. `secret` is null but in the answer that makes one: it is told once. While
    `old_secret_until` is to come, messages carry two signatures."""

    id: str
    url: str
    types: list[str]
    balance_low_usd: Decimal | None
    description: str | None
    status: State
    disabled_reason: str | None
    old_secret_until: datetime | None
    created_at: datetime
    secret: str | None = None


async def endpoint_of(call: Call) -> Endpoint:
    """The endpoint in the request's path.

    :raises NotFound: the workspace has none of this name.
    """
    endpoint_id = call.request.path_params["endpoint_id"]
    async with call.house.pool.connection() as connection:
        found = await endpoints.find(connection, call.workspace_id, endpoint_id)
    if found is None:
        raise NotFound("webhook endpoint", endpoint_id)
    return found


def view(endpoint: Endpoint) -> EndpointView:
    """An endpoint as it is shown."""
    return EndpointView(
        endpoint.endpoint_id,
        endpoint.url,
        endpoint.types,
        None if endpoint.balance_low is None else usd(endpoint.balance_low),
        endpoint.description,
        "enabled" if endpoint.disabled is None else "disabled",
        endpoint.disabled,
        endpoint.old_secret_until,
        endpoint.created_at,
    )
