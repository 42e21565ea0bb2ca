"""The writer: one a process and cell; all that waits is decided in order and committed at once.

While one batch is in flight the next one is decided (`adapters/postgres/desk.py`), and follows
in one call as soon as the first has ended. So concurrency makes batches larger instead of locks
longer, and a hot account costs what a cold one costs.

What it promises (design.md, "The writer"): an answer is given after the commit; a refusal is
decided on state that the database confirmed; a cause happens once; positions commit in order;
an outcome that the network hid is looked up by cause, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from adapters.postgres import streams
from adapters.postgres.batch import Batch, Gathering
from adapters.postgres.desk import Desk
from adapters.postgres.reader import Reader
from adapters.postgres.turns import ask_for_turns, end_turns, hear_of_turns, take_turns
from domain.commands import Command, Done, Stream
from domain.errors import Busy, OutcomeUnknown, Unavailable
from domain.facts import Aggregate

APPEND = (
    "SELECT append_events(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::text[],"
    " %b::bigint[], %b::bigint[], %b::uuid[], %b::bigint[], %b::uuid[], %b::text[])"
)
# A commit whose answer was lost may still be running in its old backend: whoever wants to know
# how it ended waits for the lock that it holds.
AFTER_THE_LAST_COMMIT = "SELECT pg_advisory_xact_lock(7001, 'events'::regclass::oid::int)"

CONFLICTS = ("DB001", "23505")  # a guard has moved on; a place or cause is taken
AT_ONCE = 250
"""Commands of one bulk that are decided before the writer may send what it has."""


class Writer(Reader):
    """Decides, commits and answers commands. Use one a process; any number of processes."""

    def __init__(
        self,
        conninfo: str,
        *,
        cache_size: int = 50_000,
        queue_limit: int = 8_192,
        snapshot_every: int = 1_000,
        patience_s: float = 30.0,
    ) -> None:
        super().__init__(conninfo)
        self._snapshot_every = snapshot_every
        self._patience_s = patience_s
        self._desk = Desk(cache_size, queue_limit, self._wake)
        self._work = asyncio.Event()
        self._missing = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._snapshots: set[asyncio.Task[None]] = set()
        self._connection: AsyncConnection | None = None
        self.batches = 0
        self.conflicts = 0

    # -- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect and begin to take commands."""
        self._connection = await self.connect()
        self._tasks = [
            asyncio.create_task(self._commit_batches(), name="writer"),
            asyncio.create_task(self._load_missing(), name="writer-loads"),
            asyncio.create_task(hear_of_turns(self.connect, self._desk.heat), name="turns"),
        ]

    async def stop(self) -> None:
        """Commit what was accepted, then let go."""
        self._closing = True
        deadline = time.monotonic() + self._patience_s
        while self._desk.count and self.is_running and time.monotonic() < deadline:
            self._work.set()
            await asyncio.sleep(0.005)
        for task in (*self._tasks, *self._snapshots):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._snapshots, return_exceptions=True)
        # A task that was cancelled while it logged in holds that connection, half open, and a
        # server that waits for a login makes every DROP DATABASE wait with it, a minute long.
        self._tasks.clear()
        if self._connection is not None:
            await self._connection.close()
        await self.close()

    @property
    def waiting(self) -> int:
        """Commands that are not answered yet."""
        return self._desk.count

    @property
    def is_running(self) -> bool:
        """Whether commands are taken and worked off."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    # -- taking commands ----------------------------------------------------------------------

    def submit(self, command: Command) -> asyncio.Future[Done]:
        """Take a command; the future holds its end after the commit.

        :raises Busy: at once, when the queue is full.
        """
        if self._closing:
            raise Busy()
        answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._desk.take(command, answer)
        self._wake()
        return answer

    async def submit_all(self, commands: Sequence[Command]) -> list[Done | BaseException]:
        """Take many commands in order; answers each one's end, refusals among them.

        Beyond a full queue commands end with `Busy`; those before them stand.
        """
        gathering = Gathering(len(commands), asyncio.get_running_loop().create_future())
        for index, command in enumerate(commands):
            place = gathering.place(index)
            try:
                if self._closing:
                    raise Busy()
                self._desk.take(command, place)
            except Busy as busy:
                place.set_exception(busy)
            if index % AT_ONCE == AT_ONCE - 1:
                self._wake()
                # The first commands travel while the next ones decide.
                await asyncio.sleep(0)
        self._wake()
        return await gathering.whole

    def _wake(self) -> None:
        if self._desk.open.waiting:
            self._work.set()
        if self._desk.cold:
            self._missing.set()

    async def _load_missing(self) -> None:
        """Load the streams that commands wait for, all that are missing in one round."""
        desk = self._desk
        while True:
            await self._missing.wait()
            self._missing.clear()
            cold, desk.cold = desk.cold, []
            missing = {
                stream
                for item in cold
                for stream in (*item.command.streams, *item.command.reads)
                if stream.id.int not in desk.cache
            }
            try:
                loaded = await self._load(missing)
            except Exception as error:  # no database, or an event that this code cannot read
                desk.fail(cold, error)
                continue
            for key, aggregate in loaded.items():
                desk.cache.setdefault(key, aggregate)
            for item in cold:
                desk.decide(item)
            self._wake()

    async def _load(self, wanted: set[Stream]) -> dict[int, Aggregate]:
        loaded = await self.load(wanted)
        for aggregate, folded in loaded.values():
            if folded >= self._snapshot_every:
                self._keep_snapshot(aggregate)
        return {key: aggregate for key, (aggregate, _) in loaded.items()}

    async def fresh(self, stream: Stream) -> Aggregate:
        """The stream as committed now, by fast-forward from what is cached."""
        known = self._desk.cache.get(stream.id.int)
        if known is None:
            return (await self._load({stream}))[stream.id.int]
        return await self.forward(known)

    # -- committing ---------------------------------------------------------------------------

    async def _commit_batches(self) -> None:
        desk = self._desk
        while True:
            await self._work.wait()
            self._work.clear()
            if not desk.open.waiting:
                continue
            try:
                await self._commit(desk.next_batch())
            except psycopg.Error:
                desk.give_up(OutcomeUnknown())
            except Exception as error:  # nobody may be left waiting, whatever broke
                desk.give_up(error)
            finally:
                desk.in_flight = None
                desk.shrink()
            self._wake()

    async def _commit(self, batch: Batch) -> None:
        """Bring a batch to its end: committed, decided again, or its outcome looked up."""
        deadline = time.monotonic() + self._patience_s
        turns = await take_turns(self._connection, self._desk.hot(batch))
        try:
            if turns:
                batch = await self._find_out(batch, True, deadline)
            else:
                batch = await self._look_first(batch)
            while batch.waiting:
                contended = True
                error: psycopg.DatabaseError
                try:
                    last = await self._append(batch)
                except psycopg.OperationalError as lost:
                    contended, error = False, lost
                except psycopg.DatabaseError as refused:
                    error = refused
                else:
                    for aggregate in self._desk.settle(batch, last, self._snapshot_every):
                        self._keep_snapshot(aggregate)
                    return
                self.conflicts += 1
                before = batch
                if contended and error.sqlstate not in CONFLICTS:
                    await self._one_by_one(batch, error)
                    return
                batch = await self._find_out(batch, contended, deadline)
                if contended and batch is before:
                    # Refused, and yet nobody else wrote: the commands cannot stand together.
                    await self._one_by_one(batch, error)
                    return
        finally:
            await end_turns(self._connection, turns)

    async def _append(self, batch: Batch) -> int:
        """One call, one transaction; returns the last position."""
        if self._connection is None or self._connection.closed:
            raise psycopg.OperationalError("the connection is closed")
        cursor = await self._connection.execute(
            APPEND, batch.arguments(self._desk.committed), prepare=True, binary=True
        )
        row = await cursor.fetchone()
        assert row is not None
        self.batches += 1
        return int(row[0])

    async def _find_out(self, batch: Batch, contended: bool, deadline: float) -> Batch:
        """What became of the batch? Ask until the database answers or patience ends."""
        lost = not contended
        while True:
            try:
                if lost:
                    await self._reconnect()
                return await self._again(batch, contended)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                lost = True
                await asyncio.sleep(0.05)

    async def _reconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = await self.connect()
        await self._connection.execute(AFTER_THE_LAST_COMMIT)

    async def _again(self, batch: Batch, contended: bool) -> Batch:
        """Read what the batch did not know, and let the desk decide again."""
        assert self._connection is not None
        wanted = [
            (item.command.streams[0].id, item.command.cause)
            for item in batch.waiting
            if item.command.cause is not None
        ]
        found = await streams.by_cause(self._connection, wanted)
        newer = self._desk.known(batch)
        moved = await streams.fast_forward(self._connection, newer)
        # Nothing awaits from here on: cache and batches change together.
        left = self._desk.again(batch, found, newer, moved, contended)
        if contended:
            await ask_for_turns(self._connection, self._desk.hot(left))
        return left

    async def _look_first(self, batch: Batch) -> Batch:
        """Where other processes write these streams too, see what they wrote before trying."""
        newer = self._desk.stale(batch)
        if not newer or self._connection is None:
            return batch
        with contextlib.suppress(psycopg.OperationalError):
            moved = await streams.fast_forward(self._connection, newer)
            return self._desk.again(batch, {}, newer, moved, contended=False)
        return batch

    async def _one_by_one(self, batch: Batch, error: psycopg.DatabaseError) -> None:
        """The database finds a row impossible: only the command that wrote it fails."""
        desk = self._desk
        if len(batch.waiting) == 1:
            desk.drop(batch, error)
            return
        try:
            for item in batch.waiting:
                alone = desk.in_flight = Batch()
                alone.decide(item, desk.committed)
                await self._commit(alone)
        except Exception:
            desk.fail(batch.waiting, OutcomeUnknown())
            raise
        finally:
            desk.decide_open_again(set(batch.state))

    # -- snapshots ----------------------------------------------------------------------------

    def _keep_snapshot(self, aggregate: Aggregate) -> None:
        task = asyncio.create_task(self._write_snapshot(streams.snapshot_row(aggregate)))
        self._snapshots.add(task)
        task.add_done_callback(self._snapshots.discard)

    async def _write_snapshot(self, row: tuple[UUID, int, str, bytes]) -> None:
        # A snapshot is a short cut; when one is not kept, the next one will do.
        with contextlib.suppress(psycopg.Error, Unavailable):
            await self.read(lambda connection: connection.execute(streams.KEEP_SNAPSHOT, row))
