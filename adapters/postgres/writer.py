"""The writer: one a process and cell; all that waits is decided in order and committed at once.

Commands decide as they arrive, on the state that the batch in flight will leave behind; when
that batch is committed, what was decided meanwhile follows in one call. So concurrency makes
batches larger instead of locks longer, and a hot account costs what a cold one costs.

What it promises (design.md, "The writer"): an answer is given after the commit; a refusal is
decided on state that the database confirmed; a cause happens once; positions commit in order;
an outcome that the network hid is looked up by cause, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from adapters.postgres import streams
from adapters.postgres.batch import Batch, Key, Waiting
from domain.commands import Command, Done, Stream
from domain.errors import Busy, ConcurrencyConflict, OutcomeUnknown, Unavailable
from domain.facts import Aggregate, Recorded

APPEND = (
    "SELECT append_events(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::text[],"
    " %b::bigint[], %b::bigint[], %b::uuid[], %b::bigint[], %b::uuid[], %b::text[])"
)
# A commit whose answer was lost may still be running in its old backend: whoever wants to know
# how it ended waits for the lock that it holds.
AFTER_THE_LAST_COMMIT = "SELECT pg_advisory_xact_lock(7001, 'events'::regclass::oid::int)"
TAKE_TURNS = "SELECT pg_advisory_lock(7002, hashtext(id::text)) FROM unnest(%b::uuid[]) AS u (id)"
END_TURNS = "SELECT pg_advisory_unlock(7002, hashtext(id::text)) FROM unnest(%b::uuid[]) AS u (id)"

ATTEMPTS = 10
HOT_SECONDS = 1.0
STALE = "DB001"


class Writer:
    """Decides, commits and answers commands. Use one a process; any number of processes."""

    def __init__(
        self,
        conninfo: str,
        *,
        cache_size: int = 50_000,
        queue_limit: int = 8_192,
        snapshot_every: int = 1_000,
        patience: float = 30.0,
    ) -> None:
        self._conninfo = conninfo
        self._cache_size = cache_size
        self._queue_limit = queue_limit
        self._snapshot_every = snapshot_every
        self._patience = patience
        self._cache: OrderedDict[Key, Aggregate] = OrderedDict()
        self._open = Batch()
        self._in_flight: Batch | None = None
        self._keys: dict[tuple[Key, str], Waiting] = {}
        self._cold: list[Waiting] = []
        self._hot: dict[Key, float] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._cold_wake = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: AsyncConnection | None = None
        self._reader: AsyncConnection | None = None
        self._reading = asyncio.Lock()
        self._snapshots: set[asyncio.Task[None]] = set()
        self.batches = 0
        self.conflicts = 0

    # -- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect and begin to take commands."""
        self._connection = await self._connect()
        self._tasks = [
            asyncio.create_task(self._commit_batches(), name="writer"),
            asyncio.create_task(self._warm_up(), name="writer-loads"),
        ]

    async def stop(self) -> None:
        """Commit what was accepted, then let go."""
        self._closing = True
        deadline = time.monotonic() + self._patience
        while self._count and time.monotonic() < deadline:
            self._wake.set()
            await asyncio.sleep(0.005)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in (self._connection, self._reader):
            if connection is not None:
                await connection.close()

    async def _connect(self) -> AsyncConnection:
        return await AsyncConnection.connect(self._conninfo, autocommit=True)

    @property
    def waiting(self) -> int:
        """Commands that are not answered yet."""
        return self._count

    @property
    def is_running(self) -> bool:
        """Whether commands are taken and worked off."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    # -- taking commands ----------------------------------------------------------------------

    def submit(self, command: Command) -> asyncio.Future[Done]:
        """Take a command; the future holds its end after the commit.

        :raises Busy: at once, when the queue is full.
        """
        if self._count >= self._queue_limit or self._closing:
            raise Busy()
        item = Waiting(command, asyncio.get_running_loop().create_future())
        self._count += 1
        key = item.key
        if key is not None:
            first = self._keys.get(key)
            if first is not None:
                first.followers.append(item)
                return item.future
            self._keys[key] = item
        self._decide(item)
        return item.future

    def _decide(self, item: Waiting) -> None:
        try:
            self._open.decide(item, self._before_open)
            self._wake.set()
        except KeyError:
            self._cold.append(item)
            self._cold_wake.set()

    def _before_open(self, key: Key) -> Aggregate:
        """The state that the batch in flight leaves behind, if it commits."""
        batch = self._in_flight
        if batch is not None:
            aggregate = batch.state.get(key)
            if aggregate is not None:
                return aggregate
        return self._cache[key]

    def _committed(self, key: Key) -> Aggregate:
        return self._cache[key]

    async def _warm_up(self) -> None:
        """Load the streams that waiting commands need, all that wait a round."""
        while True:
            await self._cold_wake.wait()
            self._cold_wake.clear()
            cold, self._cold = self._cold, []
            missing = {
                stream
                for item in cold
                for stream in (*item.command.streams, *item.command.reads)
                if stream.id.int not in self._cache
            }
            try:
                loaded = await self._read(missing)
            except Exception as error:
                for item in cold:
                    self._finish(item)
                    item.fail(Unavailable() if isinstance(error, psycopg.Error) else error)
                continue
            for key, aggregate in loaded.items():
                self._cache.setdefault(key, aggregate)
            for item in cold:
                self._decide(item)

    async def _read(self, missing: set[Stream]) -> dict[Key, Aggregate]:
        async with self._reading:
            connection = await self._reading_connection()
            return await streams.load(connection, missing)

    async def _reading_connection(self) -> AsyncConnection:
        """A connection beside the one that commits, so that loads do not hold up batches."""
        if self._reader is None or self._reader.closed or self._reader.broken:
            self._reader = await self._connect()
        return self._reader

    # -- committing ---------------------------------------------------------------------------

    async def _commit_batches(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._open.waiting:
                continue
            batch = self._in_flight = self._open
            self._open = Batch()
            try:
                await self._commit(batch)
            except Exception as error:
                self._give_up(error)
            finally:
                self._in_flight = None
                self._shrink()
            if self._open.waiting:
                self._wake.set()

    async def _commit(self, batch: Batch) -> None:
        """Bring a batch to its end: committed, decided again, or its outcome looked up."""
        deadline = time.monotonic() + self._patience
        turns = await self._take_turns(batch)
        if turns:
            batch = await self._again(batch, lost=False)
        try:
            while batch.waiting:
                lost = False
                try:
                    last = await self._append(batch)
                    self._settle(batch, last)
                    return
                except psycopg.errors.UniqueViolation:
                    pass
                except psycopg.OperationalError:
                    lost = True
                except psycopg.DatabaseError as error:
                    if error.sqlstate != STALE:
                        await self._one_by_one(batch, error)
                        return
                self.conflicts += 1
                batch = await self._until(deadline, batch, lost)
        finally:
            await self._end_turns(turns)

    async def _append(self, batch: Batch) -> int:
        assert self._connection is not None
        if self._connection.closed:
            raise psycopg.OperationalError("the connection is closed")
        cursor = await self._connection.execute(
            APPEND, batch.arguments(self._committed), prepare=True, binary=True
        )
        row = await cursor.fetchone()
        assert row is not None
        self.batches += 1
        return int(row[0])

    def _settle(self, batch: Batch, last: int) -> None:
        """The batch is committed: its state is the state, and everybody is answered."""
        cache = self._cache
        for key, aggregate in batch.state.items():
            before = cache.get(key)
            cache[key] = aggregate
            cache.move_to_end(key)
            every = self._snapshot_every
            if before is not None and aggregate.version // every > before.version // every:
                self._keep_snapshot(aggregate)
        position = last - sum(len(item.rows) for item in batch.waiting)
        answers: list[tuple[Waiting, int]] = []
        for item in batch.waiting:
            self._finish(item)
            position += len(item.rows)
            answers.append((item, position))
        if self._open.waiting:
            _answer(answers)
            return
        # Everybody waited for this batch. Half of them are answered first, so that what they
        # ask next is on its way to the database while the other half decides.
        half = len(answers) // 2
        _answer(answers[:half])
        asyncio.get_running_loop().call_soon(_answer, answers[half:])

    def _finish(self, item: Waiting) -> None:
        self._count -= 1 + len(item.followers)
        key = item.key
        if key is not None:
            self._keys.pop(key, None)

    # -- when it did not go through -----------------------------------------------------------

    async def _until(self, deadline: float, batch: Batch, lost: bool) -> Batch:
        """Decide again, through reconnects, until it works or patience ends."""
        while True:
            try:
                if lost:
                    await self._reconnect()
                return await self._again(batch, lost)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                lost = True
                await asyncio.sleep(0.05)

    async def _reconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = await self._connect()
        await self._connection.execute(AFTER_THE_LAST_COMMIT)

    async def _again(self, batch: Batch, lost: bool) -> Batch:
        """Answer what turns out to be recorded, fold in what others wrote, and let only the
        commands that rest on it decide again. Returns what is left to commit."""
        assert self._connection is not None
        wanted = [
            (item.command.streams[0].id, item.command.cause)
            for item in batch.waiting
            if item.command.cause is not None
        ]
        found = await streams.by_cause(self._connection, wanted)
        behind = {
            stream.id.int: self._cache[stream.id.int].clone()
            for item in batch.waiting
            for stream in (*item.command.streams, *item.command.reads)
        }
        moved = await streams.fast_forward(self._connection, behind)
        # From here on nothing awaits: the caches and both batches change together.
        now = time.monotonic()
        for key in moved:
            self._cache[key] = behind[key]
            if not lost:
                self._hot[key] = now + HOT_SECONDS
        rest = self._answer_found(batch, found, moved)
        _spread(moved, [*rest, *self._open.waiting])
        next_batch = Batch()
        next_batch.state = {k: a for k, a in batch.state.items() if k not in moved}
        self._in_flight = next_batch
        for item in rest:
            if not item.touches(moved):
                next_batch.waiting.append(item)
            elif item.attempts >= ATTEMPTS:
                self._finish(item)
                item.fail(ConcurrencyConflict())
            else:
                next_batch.decide(item, self._committed)
        self._decide_open_again(moved)
        return next_batch

    def _answer_found(
        self, batch: Batch, found: dict[tuple[Key, str], streams.Found], moved: set[Key]
    ) -> list[Waiting]:
        """Answer the commands whose cause is recorded; returns the others."""
        rest: list[Waiting] = []
        for item in batch.waiting:
            event = found.get(item.key) if item.key is not None else None
            if event is None:
                rest.append(item)
                continue
            moved.update(stream.id.int for stream in item.command.streams)
            self._finish(item)
            place = (event.recorded.originator_id, event.recorded.originator_version)
            ours = next((row for row in item.rows if row[:2] == place), None)
            if ours is not None and ours[3] == event.state:
                # Our own commit, whose acknowledgement was lost on the way.
                behind = item.rows[-1][1] - ours[1] if item.rows[-1][0] == ours[0] else 0
                item.settle(Done(item.answer, item.facts, event.position + behind, False))
            else:
                item.settle(Done(None, (event.recorded,), event.position, True))
        return rest

    def _decide_open_again(self, moved: set[Key]) -> None:
        """What was decided meanwhile on state that will not come to be decides again too."""
        before, self._open = self._open, Batch()
        self._open.state = {k: a for k, a in before.state.items() if k not in moved}
        for item in before.waiting:
            if item.touches(moved):
                self._open.decide(item, self._before_open)
            else:
                self._open.waiting.append(item)

    async def _one_by_one(self, batch: Batch, error: psycopg.DatabaseError) -> None:
        """The database finds a row impossible: only the command that wrote it fails."""
        if len(batch.waiting) == 1:
            item = batch.waiting[0]
            self._finish(item)
            item.fail(error)
            _spread(ids := set(batch.state), self._open.waiting)
            batch.state.clear()
            self._decide_open_again(ids)
            return
        for item in batch.waiting:
            alone = Batch()
            alone.decide(item, self._committed)
            self._in_flight = alone
            await self._commit(alone)
        self._decide_open_again(set(batch.state))

    def _give_up(self, error: Exception) -> None:
        """Patience is over, or something broke: nobody is left waiting without an answer."""
        unknown = isinstance(error, psycopg.Error)
        batch, self._open = self._open, Batch()
        in_flight = self._in_flight.waiting if self._in_flight is not None else []
        for item in (*in_flight, *batch.waiting):
            if not item.future.done():
                self._finish(item)
                item.fail(OutcomeUnknown() if unknown else error)
        # What is cached may be behind an outcome that nobody saw.
        self._cache.clear()

    # -- taking turns, cache, snapshots -------------------------------------------------------

    async def _take_turns(self, batch: Batch) -> list[UUID]:
        """Where several processes write one account, they queue instead of racing for it.
        Fairness only: the unique key stays the guarantee."""
        if not self._hot:
            return []
        now = time.monotonic()
        self._hot = {key: until for key, until in self._hot.items() if until > now}
        turns = sorted(a.id for key, a in batch.state.items() if key in self._hot)
        if not turns:
            return []
        try:
            assert self._connection is not None
            await self._connection.execute(TAKE_TURNS, (turns,), prepare=True)
        except psycopg.OperationalError:
            return []
        return turns

    async def _end_turns(self, turns: list[UUID]) -> None:
        if not turns or self._connection is None:
            return
        # A session that is gone has let go of its locks.
        with contextlib.suppress(psycopg.OperationalError):
            await self._connection.execute(END_TURNS, (turns,), prepare=True)

    def _shrink(self) -> None:
        while len(self._cache) > self._cache_size:
            for key in self._cache:
                if key not in self._open.state:
                    del self._cache[key]
                    break
            else:
                return

    def _keep_snapshot(self, aggregate: Aggregate) -> None:
        row = streams.snapshot_row(aggregate)
        if row is not None:
            task = asyncio.create_task(self._write_snapshot(row))
            self._snapshots.add(task)
            task.add_done_callback(self._snapshots.discard)

    async def _write_snapshot(self, row: tuple[UUID, int, str, bytes]) -> None:
        try:
            async with self._reading:
                connection = await self._reading_connection()
                await connection.execute(streams.KEEP_SNAPSHOT, row)
        except psycopg.Error:
            return  # A snapshot is a short cut; the next one will do.

    # -- reading ------------------------------------------------------------------------------

    async def fresh(self, stream: Stream) -> Aggregate:
        """The stream as committed now, by fast-forward from what is cached."""
        known = self._cache.get(stream.id.int)
        if known is None:
            return (await self._read({stream}))[stream.id.int]
        aggregate = known.clone()
        async with self._reading:
            await streams.fast_forward(await self._reading_connection(), {stream.id.int: aggregate})
        return aggregate

    async def find(self, stream: UUID, version: int) -> tuple[Recorded, int] | None:
        """The event at a place and its position."""
        async with self._reading:
            return await streams.by_place(await self._reading_connection(), stream, version)

    async def find_cause(self, stream: UUID, cause: str) -> tuple[Recorded, int] | None:
        """The event of a cause and its position."""
        async with self._reading:
            connection = await self._reading_connection()
            event = (await streams.by_cause(connection, [(stream, cause)])).get((stream.int, cause))
            return None if event is None else (event.recorded, event.position)

    async def balance_at(self, stream: UUID, version: int) -> int:
        """The wallet balance in µ right after an event of an account's stream."""
        async with self._reading:
            connection = await self._reading_connection()
            cursor = await connection.execute(streams.BALANCE_AT, (stream, version))
            row = await cursor.fetchone()
            return 0 if row is None else int(row[0])


def _answer(answers: list[tuple[Waiting, int]]) -> None:
    for item, position in answers:
        if item.refusal is not None:
            item.fail(item.refusal)
        else:
            item.settle(Done(item.answer, item.facts, position, False))


def _spread(moved: set[Key], items: list[Waiting]) -> None:
    """A command that moves several streams carries the need to decide again to all of them."""
    before = -1
    while before != len(moved):
        before = len(moved)
        for item in items:
            if len(item.command.streams) > 1 and item.touches(moved):
                moved.update(stream.id.int for stream in item.command.streams)
