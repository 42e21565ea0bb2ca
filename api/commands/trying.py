"""`daybook prices try`: what other prices would have made of a period."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psycopg
import typer
from rich.table import Table

from api.commands.options import Data, DatabaseUrl, Json, fail, instant, show
from api.commands.plain import plain_errors
from api.commands.tenants import find_tenant, tenants
from api.price_document import DOCUMENT
from api.running.deployment import database_for
from domain.catalogue.price_book import PriceBookVersion, PriceEntry
from domain.errors import InvalidInput
from domain.money import usd
from projections.repricing import Repriced, reprice
from projections.tables import create_all

ROWS_SHOWN = 40


@plain_errors()
def try_(
    file: Annotated[
        Path, typer.Argument(help="As POST /v1/admin/price-books takes it; - for stdin.")
    ],
    start: Annotated[
        datetime | None,
        typer.Option("--from", parser=instant, metavar="INSTANT", help="Acts from then on."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", parser=instant, metavar="INSTANT", help="Acts before then."),
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="Only this one, by id or name.")] = None,
    json_: Json = False,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Show what the acts of a period would have cost by other prices. Nothing is changed."""
    prices = _read(file)
    with (
        database_for(database_url, data) as database,
        psycopg.connect(database.conninfo(), autocommit=True) as connection,
    ):
        create_all(connection)
        only = find_tenant(connection, workspace).workspace_id if workspace else None
        found = reprice(connection, prices, start=start, end=end, workspace_id=only)
        names = dict(tenants(connection))
    if json_:
        print(json.dumps(_plain(found)))
    elif not found:
        print("No act of that period was paid for by tokens: there is nothing to price anew.")
    else:
        _show(found, names)


def _read(file: Path) -> PriceBookVersion:
    """The prices of a file, as a version that nobody has published."""
    try:
        text = typer.get_binary_stream("stdin").read() if str(file) == "-" else file.read_bytes()
        document = DOCUMENT.decode(text)
        at = document.starts_at(datetime.now(UTC))
        prices = document.prices(at)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.", 2)
    except msgspec.MsgspecError as error:
        fail(f"{file} is no price book: {error}.", 2)
    except InvalidInput as error:
        where = ".".join(str(part) for part in error.loc)
        fail(f"{file} is no price book: {where} {error}.", 2)
    by_model: dict[str, tuple[PriceEntry, ...]] = {}
    for entry in prices:
        by_model[entry.model] = (*by_model.get(entry.model, ()), entry)
    return PriceBookVersion(0, at, "", document.markup_bps, by_model)


def _plain(found: list[Repriced]) -> dict[str, Any]:
    rows = [
        {
            "workspace_id": row.workspace_id,
            "llm_model": row.llm_model or None,
            "acts": row.acts,
            "charged_micros": row.charged,
            "would_be_micros": row.would_be,
            "difference_micros": row.difference,
            "unpriced_acts": row.unpriced,
        }
        for row in found
    ]
    names = ("acts", "charged_micros", "would_be_micros", "difference_micros", "unpriced_acts")
    return {"rows": rows, "totals": {name: sum(row[name] for row in rows) for name in names}}


def _show(found: list[Repriced], names: dict[str, str]) -> None:
    table = Table("workspace", "model")
    for name in ("acts", "charged", "would be", "difference"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in found[:ROWS_SHOWN]:
        unknown = f"{row.unpriced:,} acts have no price there" if row.unpriced else ""
        name = names.get(row.workspace_id, row.workspace_id)
        table.add_row(name, row.llm_model, *_amounts(row), unknown)
    sums = (sum(column) for column in zip(*(row[2:] for row in found), strict=True))
    rest = f"and {len(found) - ROWS_SHOWN:,} rows more" if len(found) > ROWS_SHOWN else ""
    table.add_section()
    table.add_row("all", rest, *_amounts(Repriced("", "", *sums)), "")
    show(table)


def _amounts(row: Repriced) -> tuple[str, ...]:
    return f"{row.acts:,}", f"{usd(row.charged)}", f"{usd(row.would_be)}", f"{usd(row.difference)}"
