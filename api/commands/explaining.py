"""`daybook explain`: why one act was charged as it was."""

import asyncio
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from psycopg import AsyncConnection

from adapters.postgres.database import Database
from api.auditing.evidence import evidence
from api.auditing.explanation import explain as explanation_of
from api.auditing.explanation import owner_of
from api.auditing.rendering import ChargeExplained, explained
from api.commands.options import Data, DatabaseUrl, Json
from api.commands.plain import plain_errors
from api.running.deployment import database_for, ledger_on
from domain.errors import NotFound
from domain.money import usd

JSON = msgspec.json.Encoder(decimal_format="number")  # as the API writes it


@plain_errors()
def explain(
    usage_id: Annotated[str, typer.Argument(help="As the charge was answered: use_…")],
    json_: Json = False,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Say why an act cost what it did: the exact sum, who paid, and the event behind it."""
    with database_for(database_url, data) as database:
        found = asyncio.run(_explained(database, usage_id))
    if json_:
        print(JSON.encode(found).decode())
        return
    for name, words in _lines(found):
        print(f"{name:<10}{words}")


async def _explained(database: Database, usage_id: str) -> ChargeExplained:
    async with ledger_on(database, "daybook-explain") as ledger:
        workspace_id = await owner_of(ledger.book, usage_id)
        told = await explanation_of(ledger.book, workspace_id, usage_id)
        if told is None:
            raise NotFound("usage", usage_id)
        async with await AsyncConnection.connect(database.conninfo()) as connection:
            return explained(workspace_id, told, await evidence(connection, workspace_id, told))


def _lines(found: ChargeExplained) -> Iterator[tuple[str, str]]:
    request = found.request
    what = " ".join(request[name] for name in ("meter", "action", "llm_model") if request.get(name))
    yield "act", f"{what}, {found.occurred_at.isoformat()}, of {found.workspace_id}"
    if found.conversion:
        yield "units", found.conversion.text
    if found.formula:
        yield "price", found.formula.text
    if found.price:
        yield "", f"price book version {found.price.price_book_version}"
    if found.share:
        yield "share", found.share.text
    for draw in found.funding:
        yield "paid by", _paid(draw)
    before, after = usd(found.balance_before_micros), usd(found.balance_after_micros)
    yield "balance", f"{before} - {usd(found.charged_micros)} = {after}"
    for line in found.invoice_lines:
        yield "invoice", f"{line.number or line.invoice_id}: {line.description}"
    for step in found.causation:
        where = f", at position {step.position}" if step.position else ""
        yield "because", f"{step.step} {step.ref}{f' ({step.type})' if step.type else ''}{where}"
    if found.voided_at_position:
        yield "voided", f"at position {found.voided_at_position}"
    yield "hash", f"{found.event_hash} of version {found.version} of {found.stream}"
    sealed = found.inclusion.checkpoint if found.inclusion else None
    yield "sealed", f"by the checkpoint at {sealed.position}" if sealed else "not yet"


def _paid(draw: dict[str, object]) -> str:
    words = str(draw["source"])
    if units := draw.get("units"):
        words += f": {units} {draw.get('bucket') or 'units'}"
        if price := draw.get("unit_price"):
            words += f" × {price} µ"
    if amount := draw.get("amount"):
        words += f": {amount} µ"
    if grants := draw.get("grants"):
        assert isinstance(grants, dict)
        words += f" from {', '.join(f'{grant} ({part} µ)' for grant, part in grants.items())}"
    return words + (f" ({reason})" if (reason := draw.get("reason")) else "")
