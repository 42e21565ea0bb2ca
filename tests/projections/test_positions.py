"""Whoever has written can wait until the read models have seen it."""

import asyncio

from psycopg import AsyncConnection

from adapters.postgres.database import Database
from projections import positions
from projections.models import MODELS
from tests.domain.given import USD, at
from tests.projections.stories import (
    ask,
    everything,
    newest,
    post,
    rows,
    write,
)

NAMES = [model.name for model in MODELS]


def test_reading_waits_for_a_position_but_not_for_ever(database: Database) -> None:
    write(database, everything)
    post(database)
    last = newest(database)

    async def story(connection: AsyncConnection) -> None:
        assert await positions.position(connection, *NAMES) == last
        assert await positions.reach(connection, last, NAMES)
        assert not await positions.reach(connection, last + 1_000_000, NAMES, 0.3)
        credit = await asyncio.to_thread(
            write, database, lambda ledger: ledger.grant("acme", USD, "more", at(hours=3))
        )
        assert not await positions.reach(connection, credit.position, NAMES, 0.1)
        waiting = asyncio.create_task(positions.reach(connection, credit.position, NAMES, 30))
        await asyncio.to_thread(post, database)
        assert await waiting

    ask(database, story)


def test_a_position_that_a_rollback_drew_is_not_waited_for(database: Database) -> None:
    write(database, everything)
    post(database)
    rows(database, "SELECT nextval('events_notification_id_seq')", owner=True)
    drawn = newest(database) + 1
    assert ask(database, lambda c: positions.reach(c, drawn, NAMES, 0.1))
    assert not ask(database, lambda c: positions.reach(c, drawn + 1, NAMES, 0.1))
