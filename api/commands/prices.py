"""`daybook prices`: bring list prices into the price book."""

import asyncio
from datetime import datetime
from typing import Annotated, NamedTuple

import typer
from psycopg import AsyncConnection

from adapters.clock import SystemClock
from adapters.postgres.database import Database
from adapters.prices import content_hash, list_prices
from api.commands.options import Data, DatabaseUrl, fail, instant
from api.commands.plain import plain_errors
from api.commands.trying import try_
from api.running.deployment import database_for, ledger_on
from domain.catalogue.price_book import PriceBookVersion, PriceEntry
from domain.facts import Context
from domain.ledger import Ledger
from projections.usage_history import unrated

app = typer.Typer(help="The price book.", no_args_is_help=True)
SOURCE = "genai-prices"
ACTOR = "admin:daybook prices import"
UNRATED_MAX = 1_000_000


class Merged(NamedTuple):
    """A price book made of list prices and of what they do not know."""

    entries: tuple[PriceEntry, ...]
    new: int
    changed: int
    kept: int


@app.callback()
def prices() -> None:
    """The price book."""


app.command("try")(try_)


@app.command("import")
@plain_errors()
def import_(
    source: Annotated[str, typer.Argument(help="Where from; only genai-prices so far.")] = SOURCE,
    effective_from: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="INSTANT", help="Default: now. Never in the past."),
    ] = None,
    markup_bps: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="Default: that of the last version.")
    ] = None,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Publish a new version of the price book from the installed list of model prices.

    Models that only the version before knows keep their prices. What was rated stays as it is.
    """
    if source != SOURCE:
        fail(f"there is no source {source!r}: use {SOURCE}.", 2)
    with database_for(database_url, data) as database:
        asyncio.run(_publish(database, effective_from, markup_bps))


async def _publish(database: Database, start: datetime | None, markup_bps: int | None) -> None:
    async with ledger_on(database, "daybook-prices") as ledger:
        book = await ledger.prices()
        if not book.versions:
            fail("the ledger has no price book yet: its catalogue rates nothing by tokens.")
        last, versions = book.versions[-1], len(book.versions)
        now = await SystemClock().now()
        effective_from = start or now
        merged = merge(last, list_prices(effective_from))
        markup = last.markup_bps if markup_bps is None else markup_bps
        if start is None and markup == last.markup_bps and not (merged.new or merged.changed):
            print(f"Nothing to do: version {last.version} has these prices already.")
            return
        version = await ledger.publish_prices(
            effective_from,
            last.currency,
            markup,
            merged.entries,
            content_hash(effective_from, markup, merged.entries),
            Context(now, ACTOR),
        )
        rated = await _rate_unrated(ledger, database, Context(now, ACTOR))
    if version <= versions:
        print(f"Nothing to do: this is version {version}, which is published already.")
        return
    print(
        f"Version {version} of the price book, from {effective_from.isoformat()} on, markup "
        f"{markup} bps: {len(merged.entries):,} prices, {merged.new:,} of them new, "
        f"{merged.changed:,} changed, {merged.kept:,} kept."
        + (f" {rated:,} acts that had no price have one now." if rated else "")
    )


async def _rate_unrated(ledger: Ledger, database: Database, context: Context) -> int:
    """Price what was recorded without a price, as far as the read models know of it."""
    async with await AsyncConnection.connect(database.conninfo(), autocommit=True) as connection:
        waiting = await unrated(connection, limit=UNRATED_MAX)
    return sum([await ledger.rate_unrated(*act, context) for act in waiting])


def merge(last: PriceBookVersion, listed: tuple[PriceEntry, ...]) -> Merged:
    """The listed prices, and those of `last` that no list has."""
    before = {
        (entry.model, entry.provider): entry for group in last.entries.values() for entry in group
    }
    after = {(entry.model, entry.provider): entry for entry in listed}
    kept = {key: entry for key, entry in before.items() if key not in after}
    return Merged(
        tuple((kept | after)[key] for key in sorted(kept | after)),
        new=len(after.keys() - before.keys()),
        changed=sum(before[key] != entry for key, entry in after.items() if key in before),
        kept=len(kept),
    )
