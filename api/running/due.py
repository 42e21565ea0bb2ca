"""What time does by itself, recorded even where nobody calls: expired holds and grants, cycles
that end, graces that are over. Decisions never wait for it: each looks at the time itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Any, Protocol

import structlog
from psycopg_pool import AsyncConnectionPool

from domain.errors import TryAgain
from domain.facts import Context
from domain.ledger import Ledger
from projections import due_work, expiries, usage_history

ACTOR = "sweeper"
AT_ONCE = 64
"""Workspaces whose work is committed together: many cycles end in the same second."""

UNPRICED_AT_ONCE = 100_000

log = structlog.get_logger("daybook.due")


class Stand(Protocol):
    """What due work needs of a house: the use cases, and the read models that say what is due."""

    @property
    def ledger(self) -> Ledger:
        """The use cases."""
        ...

    @property
    def pool(self) -> AsyncConnectionPool[Any]:
        """Connections to the read models."""
        ...


async def run_due(house: Stand, now: datetime, *, since: datetime | None = None) -> int:
    """Do everything that is due at ``now``, once; answers how many facts that left. 0: nothing
    is due any more, as far as the read models know.

    ``since`` leaves out grants that ended before it, which an earlier call has written off, and
    acts without a price. What fails for one workspace is logged, and tried again the next time;
    it holds up no other.

    :raises TryAgain: the book itself cannot be written now.
    """
    due = sorted((await _due(house, now, since)).items())
    context = Context(now, ACTOR)
    recorded = 0
    for start in range(0, len(due), AT_ONCE):
        some = due[start : start + AT_ONCE]
        acts = (_act(house.ledger, workspace_id, kinds, context) for workspace_id, kinds in some)
        ends = await asyncio.gather(*acts, return_exceptions=True)
        for (workspace_id, kinds), end in zip(some, ends, strict=True):
            if isinstance(end, int):
                recorded += end
            elif isinstance(end, TryAgain):
                raise end
            else:
                what = {"workspace_id": workspace_id, "kinds": sorted(kinds)}
                log.error("due_work_failed", **what, exc_info=end)
    return recorded + (await price_unpriced(house, context) if since is None else 0)


async def price_unpriced(house: Stand, context: Context) -> int:
    """Price acts that were recorded without a price, where a published book has one by now, and
    debit them; answers how many. An act may be reported after the book that prices it was
    published, for a moment before the book is in force: nobody publishes anything then. What
    fails for one act is logged, and holds up no other.

    :raises TryAgain: the book itself cannot be written now.
    """
    books = (await house.ledger.prices()).versions
    models = sorted({model for book in books for model in book.entries})
    async with house.pool.connection() as connection:
        waiting = await usage_history.unrated(connection, models, limit=UNPRICED_AT_ONCE)
    priced = 0
    for workspace_id, usage_id in waiting:
        try:
            priced += await house.ledger.rate_unrated(workspace_id, usage_id, context)
        except TryAgain:
            raise
        except Exception as error:
            what = {"workspace_id": workspace_id, "usage_id": usage_id}
            log.error("act_not_priced", **what, exc_info=error)
    return priced


async def _due(house: Stand, now: datetime, since: datetime | None) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    async with house.pool.connection() as connection:
        for workspace_id, kinds in (await due_work.due(connection, now)).items():
            found[workspace_id] = set(kinds)
        for workspace_id in await expiries.due(connection, since, now):
            found.setdefault(workspace_id, set()).add("credit")
    return found


async def _act(ledger: Ledger, workspace_id: str, kinds: Collection[str], context: Context) -> int:
    """Record what time did to one workspace; answers how many facts."""
    done = []
    if "cycle" in kinds:  # first: what else is due is decided in the cycle that runs now
        done.append(await ledger.roll_over(workspace_id, context, "timer"))
    if not {"hold", "window", "credit"}.isdisjoint(kinds):
        done.append(await ledger.tidy(workspace_id, context))
    if "grace" in kinds:
        done.append(await ledger.notice_grace(workspace_id, context))
    return sum(len(one.facts) for one in done)
