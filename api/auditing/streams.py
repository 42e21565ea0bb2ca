"""Streams by the names that people know, and which of them belong to a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import AsyncConnection

from domain.account.credit_facts import CreditAccountOpened
from domain.codec import decode_fact
from domain.contract.subscription import SubscriptionStarted, subscription_stream
from domain.errors import InvalidInput, NotFound
from domain.facts import aggregate_class
from domain.identity import account_id, stream_id
from domain.invoice.facts import InvoiceDrafted
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import (
    PaymentDisputed,
    PaymentQuarantined,
    PaymentRequested,
    attempt_id,
    attempt_stream,
)
from domain.workspace.workspace import WorkspaceCreated, workspace_stream

if TYPE_CHECKING:  # The command line asks for streams, too, and loads no web for it.
    from api.call import Call

FIRST = """
    SELECT originator_id, topic, state FROM events
    WHERE originator_id = ANY(%s::uuid[]) AND originator_version = 1
"""
# What names its workspace in its first fact only: found where read models keep it.
OF_WORKSPACE = """
    SELECT stream FROM payments WHERE workspace_id = %s
    UNION SELECT stream FROM invoices WHERE workspace_id = %s
"""


def stream_of(name: str) -> UUID:
    """The stream that a name such as `credit_account/ws_1` or `subscription/{uuid}` means.

    :raises InvalidInput: it has no such form.
    """
    category, _, rest = name.partition("/")
    if not rest or not category.isidentifier():
        raise InvalidInput(("query", "stream"), "has the form credit_account/{workspace_id}")
    if category == PaymentAttempt.category:
        return attempt_stream(rest)
    try:
        return UUID(rest)
    except ValueError:
        return stream_id(category, rest)


def name_of(stream: UUID, opened: object) -> str:
    """The stream as people call it; its first fact knows of what it is."""
    match opened:
        case CreditAccountOpened(workspace_id=name) | WorkspaceCreated(workspace_id=name):
            pass
        case SubscriptionStarted(workspace_id=name) | InvoiceDrafted(stripe_invoice_id=name):
            pass
        case PaymentRequested(payment_ref=str(name)):
            return f"payment_ref/{name}"
        case PaymentRequested() | PaymentQuarantined() | PaymentDisputed():
            name = attempt_id(stream)
        case _:
            name = str(stream)
            if stream in (stream_id(kind, "default") for kind in ("price_book", "plan_catalogue")):
                name = "default"
    return f"{aggregate_class(type(opened)).category}/{name}"  # type: ignore[arg-type]


async def names_of(connection: AsyncConnection[Any], streams: list[UUID]) -> dict[UUID, str]:
    """Each stream's name, from its first fact."""
    cursor = await connection.execute(FIRST, (streams,))
    return {
        stream: name_of(stream, decode_fact(topic, state))
        for stream, topic, state in await cursor.fetchall()
    }


async def own_streams(connection: AsyncConnection[Any], workspace_id: str) -> list[UUID]:
    """Every stream of a workspace: account, contract, tenant, payments and invoices."""
    cursor = await connection.execute(OF_WORKSPACE, (workspace_id, workspace_id))
    return [
        account_id(workspace_id),
        workspace_stream(workspace_id),
        subscription_stream(workspace_id),
        *(row[0] for row in await cursor.fetchall()),
    ]


async def asked_stream(call: Call, name: str | None) -> UUID | None:
    """The stream of this name as far as the key may see it; None where none was named.

    :raises InvalidInput: no stream is named like that.
    :raises NotFound: it belongs to another workspace than the key does, or to none.
    """
    if name is None:
        return None
    stream, bound = stream_of(name), call.caller.workspace_id
    if bound is None:
        return stream
    if stream in (account_id(bound), workspace_stream(bound), subscription_stream(bound)):
        return stream
    async with call.house.pool.connection() as connection:
        rows = await (await connection.execute(FIRST, ([stream],))).fetchall()
    for _, topic, state in rows:
        if getattr(decode_fact(topic, state), "workspace_id", None) == bound:
            return stream
    raise NotFound("stream", name)
