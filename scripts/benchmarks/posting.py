"""The runner: catching up with all read models on, and its lag while a writer works."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import psycopg

from adapters.postgres.database import Database
from projections.models import MODELS
from scripts.benchmarks import ground
from scripts.benchmarks.books import Books
from scripts.benchmarks.chaining import Chaining
from scripts.benchmarks.charging import Charging
from scripts.benchmarks.clients import Sample
from scripts.benchmarks.crew import Crew
from scripts.benchmarks.following import POSITIONS, CatchingUp, Following, Watching, lags
from scripts.benchmarks.ground import Ground
from scripts.benchmarks.pace import Pace
from scripts.benchmarks.rows import Report, in_turn

EVENTS = 200_000
EVENTS_QUICK = 20_000
THOUSAND = ground.names(1000)
BULK = 1000
WRITING = 64
"""Clients of the writer whose half load is followed."""


def measure_runner(place: Ground, report: Report, pace: Pace) -> None:
    """Catching up with 200,000 events, and lag at half load."""
    catching, lagging = pace.wants("runner catching up"), pace.wants("runner lag")
    chained = pace.wants("chain catching up") or pace.wants("chain verified")
    if not (catching or lagging or chained):
        return
    ledger = place.ledger("followed")
    ground.furnish(ledger, THOUSAND)
    if catching or chained:
        _fill(report, pace, ledger)
    if catching:
        _measure_catching_up(place, report, pace, ledger)
    if chained:
        _measure_chain(place, report, pace, ledger)
    if lagging:
        _measure_lag(report, pace, ledger)


def _fill(report: Report, pace: Pace, ledger: Database) -> None:
    wanted = EVENTS_QUICK if pace.quick else EVENTS
    report.say(f"a book of {wanted:,} events")
    with Crew(Charging, ledger.conninfo()) as writers:
        writers.run("bulk", 4, THOUSAND, 0, "fill", size=BULK, turns=wanted // (4 * BULK))


def _measure_catching_up(place: Ground, report: Report, pace: Pace, ledger: Database) -> None:
    events = _count(ledger)

    def turn(number: int) -> Sample:
        copy = place.ledger(f"followed_{number}", "followed")
        place.rest()
        with Crew(CatchingUp) as runner:
            sample = runner.run("catch up", 1, [copy.conninfo()], 0, "", events=events)
        report.wrong += _behind(copy)
        place.drop(f"followed_{number}")
        return sample

    (samples,) = in_turn(pace.rounds, turn)
    note = f"{events:,} events, {len(MODELS)} models, waits between two postings"
    report.add("runner catching up", samples, clients=1, accounts=len(THOUSAND), note=note)


def _measure_chain(place: Ground, report: Report, pace: Pace, ledger: Database) -> None:
    """The audit trail alone: hashed, chained and signed for; then all of it verified."""
    events = _count(ledger)
    copies: dict[int, Database] = {}

    with Crew(Chaining) as crew:

        def turn(task: str, number: int) -> Sample:
            copy = copies.get(number)
            if copy is None:
                copy = copies[number] = place.ledger(f"chained_{number}", "followed")
            place.rest()
            return crew.run(task, 1, [copy.runtime_url], 0, f"turn_{number}", events=events)

        samples = in_turn(pace.rounds, partial(turn, "chain"), partial(turn, "verify"))
    for number in copies:
        place.drop(f"chained_{number}")
    for name, kept in zip(("chain catching up", "chain verified"), samples, strict=True):
        note = f"{events:,} events, the wait is for all of them"
        report.add(name, kept, clients=1, accounts=len(THOUSAND), note=note)


def _measure_lag(report: Report, pace: Pace, ledger: Database) -> None:
    report.say("lag of the runner at half load")
    conninfo = ledger.conninfo()
    books = Books(ledger.conninfo(owner=True))
    with (
        Crew(Following, conninfo),
        Crew(Watching, conninfo) as watch,
        Crew(Charging, conninfo) as writers,
    ):
        watch.run("watch", 1, [], 0, "")  # until the runner is there
        writers.run("touch", 1, THOUSAND, 0, "warm")
        full = writers.run("charge", WRITING, THOUSAND, pace.seconds, "full")
        watch.run("watch", 1, [], 0, "")
        books.skip()
        rate = max(round(full.per_s / 2), WRITING)

        def turn(number: int) -> Sample:
            seconds = 2 * pace.seconds
            heard: list[Sample] = []
            listener = threading.Thread(
                target=lambda: heard.append(watch.run("watch", 1, [], seconds, ""))
            )
            listener.start()
            paced = writers.run("pace", WRITING, THOUSAND, seconds, f"p{number}", rate=rate)
            listener.join()
            debits, spent = paced.facts.pop("debits"), paced.facts.pop("spent")
            books.check("runner lag", debits, spent)
            paced.waits = lags(_by_position(paced), _by_position(heard[0]))
            return paced

        (samples,) = in_turn(pace.rounds, turn)
    report.wrong += _behind(ledger)
    note = f"half of {full.per_s:,.0f}/s; acknowledged until posted to {len(MODELS)} models"
    report.add("runner lag", samples, clients=WRITING, accounts=len(THOUSAND), note=note)


def _by_position(sample: Sample) -> dict[int, float]:
    return {int(position): moment for position, moment in sample.facts.items()}


def _count(ledger: Database) -> int:
    return int(_row(ledger, "SELECT count(*) FROM events")[0])


def _behind(ledger: Database) -> list[str]:
    """What is wrong with the read models after they have caught up."""
    last = _row(ledger, "SELECT max(notification_id) FROM events")[0]
    stands = _row(ledger, POSITIONS)
    if stands != (len(MODELS), last, last):
        return [f"the book ends at {last}, and of the read models (count, least, most): {stands}"]
    return []


def _row(ledger: Database, query: str) -> tuple[Any, ...]:
    with psycopg.connect(ledger.conninfo(owner=True)) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row
