"""`scripts/bench write`: the floor, the library's plain save and Daybook, in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from scripts.benchmarks import floor
from scripts.benchmarks.bare import Bare
from scripts.benchmarks.clients import Sample, together
from scripts.benchmarks.contest import HOT, THOUSAND, Contest
from scripts.benchmarks.crew import Crew
from scripts.benchmarks.ground import Ground
from scripts.benchmarks.library import Plain
from scripts.benchmarks.long_account import measure_long
from scripts.benchmarks.pace import Pace
from scripts.benchmarks.routes import measure_routes
from scripts.benchmarks.rows import Report, in_turn

CLIENTS = (1, 16, 64, 256)
LIBRARY_CLIENTS = (1, 16)
BULK = 1000
FLOOR_PROCESSES = 4


def measure(place: Ground, report: Report, pace: Pace) -> None:
    """Everything that was asked for; what is wrong with the books ends up in the report."""
    contest = Contest(place, report, pace)
    measure_clients(contest)
    if pace.wants("bulk"):
        measure_bulk(contest)
    if pace.wants("long"):
        measure_long(contest)
    measure_processes(contest)
    if pace.wants("routes"):
        measure_routes(contest)
    contest.books.audit()
    report.wrong += contest.books.wrong
    report.wrong += floor.audit(contest.floor_url, contest.floor_debits)


def measure_clients(contest: Contest) -> None:
    """1, 16, 64 and 256 clients on 1,000 accounts and on one."""
    wanted = [
        (clients, accounts)
        for accounts in (THOUSAND, HOT)
        for clients in CLIENTS
        if contest.pace.wants(f"clients {clients} on {len(accounts)}")
    ]
    if not wanted:
        return
    with ExitStack() as stack:
        floors = stack.enter_context(Crew(floor.Floor, contest.floor_url, processes=2))
        chargers = stack.enter_context(contest.charging())
        contest.warm(chargers)
        plain: Crew | None = None
        for clients, accounts in wanted:
            if clients in LIBRARY_CLIENTS and plain is None:
                plain = stack.enter_context(_library(contest))
            _one_load(contest, floors, chargers, plain, clients, accounts)


@contextmanager
def _library(contest: Contest) -> Iterator[Crew]:
    with Crew(Plain, contest.place.database("library")) as crew:
        crew.run("open", 1, [*THOUSAND, *HOT], 0, contest.tag())
        yield crew


def _one_load(
    contest: Contest,
    floors: Crew,
    chargers: Crew,
    plain: Crew | None,
    clients: int,
    accounts: Sequence[str],
) -> None:
    report, pace = contest.report, contest.pace
    report.say(f"{clients} clients on {len(accounts)}")
    contest.place.rest()
    shape = contest.best_shape(floors, clients, accounts)
    last: dict[str, Any] = {}

    def ours(_: int) -> Sample:
        last["after"] = contest.books.skip()
        last["sample"] = sample = contest.charge(chargers, clients, accounts)
        last["upto"] = contest.books.skip()
        return sample

    def by_libpq(_: int) -> Sample:
        given = {"connections": shape.connections}
        return contest.floor_turn(floors, "libpq", clients, accounts, **given)

    def library(_: int) -> Sample:
        assert plain is not None
        return plain.run("debit", clients, accounts, pace.seconds, contest.tag())

    turns: list[Callable[[int], Sample]] = [
        lambda _: contest.floor(floors, clients, accounts, shape),
        ours,
        by_libpq,
    ]
    with_library = clients in LIBRARY_CLIENTS
    with_bare = clients == CLIENTS[-1] and len(accounts) > 1
    with ExitStack() as stack:
        if with_library:
            turns.append(library)
        if with_bare:
            bare = stack.enter_context(Crew(Bare, contest.ledger.conninfo(owner=True)))
            turns.append(lambda _: _bare_turn(contest, bare, last))
        samples = in_turn(pace.rounds, *turns)
    given = {"clients": clients, "accounts": len(accounts)}
    report.add("floor", samples[0], **given, processes=shape.processes, note=str(shape))
    report.add("daybook", samples[1], **given, note=f"{_size(samples[1]):.0f} a commit")
    note = f"{shape.connections} connections, clients that cost nothing"
    report.add("floor by libpq", samples[2], **given, note=note)
    if with_library:
        conflicts = sum(sample.facts["conflicts"] for sample in samples[3])
        report.add("library save", samples[3], **given, note=f"{conflicts:.0f} saved again")
    if with_bare:
        note = f"batches of {_size(samples[1]):.0f}, waits of a batch"
        report.add("bare insert", samples[-1], **given, note=note)


def _bare_turn(contest: Contest, bare: Crew, last: dict[str, Any]) -> Sample:
    return bare.run(
        "insert",
        1,
        THOUSAND,
        contest.pace.seconds,
        contest.tag(),
        after=last["after"],
        upto=last["upto"],
        size=round(_size([last["sample"]])),
    )


def _size(samples: Sequence[Sample]) -> float:
    """What one commit held on average."""
    batches = sum(sample.facts["batches"] for sample in samples)
    return sum(sample.acts for sample in samples) / max(batches, 1)


def measure_bulk(contest: Contest) -> None:
    """1,000 keyed acts a call, each accepted or refused, from 1, 2 and 4 callers at once."""

    def ours(chargers: Crew, callers: int) -> Sample:
        sample = chargers.run(
            "bulk", callers, THOUSAND, contest.pace.seconds, contest.tag(), size=BULK
        )
        contest.check(f"bulk by {callers}", sample)
        return sample

    def set_based(floors: Crew, callers: int, spread: int) -> Sample:
        return contest.floor_turn(floors, "bulk", callers, THOUSAND, size=BULK, spread=spread)

    with Crew(floor.Floor, contest.floor_url) as floors, contest.charging() as chargers:
        contest.warm(chargers)
        set_based(floors, 1, 1)  # warm, and uncounted
        ours(chargers, 1)
        for callers in (1, 2, 4):
            contest.report.say(f"bulk, {callers} callers")
            contest.place.rest()
            samples = in_turn(
                contest.pace.rounds,
                lambda _, n=callers: set_based(floors, n, 1),  # type: ignore[misc]
                lambda _, n=callers: ours(chargers, n),  # type: ignore[misc]
                lambda _, n=callers: set_based(floors, n, 0),  # type: ignore[misc]
            )
            cases = ("bulk floor", "bulk", "bulk floor, one account a call")
            for case, kept in zip(cases, samples, strict=True):
                note = f"{BULK} a call, waits of a call"
                contest.report.add(case, kept, clients=callers, accounts=1000, note=note)


def measure_processes(contest: Contest) -> None:
    """Two and four processes, each with a writer and 16 clients, on 1,000 accounts and on one."""
    wanted = [
        (processes, accounts)
        for processes in (2, 4)
        for accounts in (THOUSAND, HOT)
        if contest.pace.wants(f"processes {processes} on {len(accounts)}")
    ]
    if not wanted:
        return
    with (
        Crew(floor.Floor, contest.floor_url, processes=FLOOR_PROCESSES) as floors,
        contest.charging(4) as chargers,
    ):
        contest.warm(chargers, 4)
        for processes, accounts in wanted:
            contest.report.say(f"{processes} processes on {len(accounts)}")
            _one_crowd(contest, floors, chargers, processes, accounts)


def _one_crowd(
    contest: Contest, floors: Crew, chargers: Crew, processes: int, accounts: Sequence[str]
) -> None:
    clients = 16 * processes
    contest.place.rest()
    shape = contest.best_shape(floors, clients, accounts, processes)
    least: list[Sample] = []
    shares: list[float] = []

    def ours(_: int) -> Sample:
        parts = contest.charge_each(chargers, clients, accounts, processes)
        least.append(min(parts, key=lambda part: part.acts))
        shares.append(least[-1].acts * processes / sum(part.acts for part in parts))
        return together(parts)

    samples = in_turn(
        contest.pace.rounds, lambda _: contest.floor(floors, clients, accounts, shape), ours
    )
    given = {"clients": clients, "accounts": len(accounts), "processes": processes}
    contest.report.add("floor", samples[0], **given, note=str(shape))
    conflicts = sum(sample.facts["conflicts"] for sample in samples[1])
    contest.report.add("daybook", samples[1], **given, note=f"{conflicts:.0f} commits met others")
    note = f"{sorted(shares)[len(shares) // 2]:.0%} of an even share"
    contest.report.add("daybook, least lucky process", least, **given, note=note)
