"""An account with a million events, beside a new one."""

from __future__ import annotations

from uuid import UUID

import msgspec
import psycopg

from domain.account.usage_facts import Debited
from domain.codec import decode_fact, encode_fact
from domain.identity import account_id
from scripts.benchmarks.clients import Sample
from scripts.benchmarks.contest import Contest
from scripts.benchmarks.rows import in_turn

EVENTS = 1_000_000
EVENTS_QUICK = 20_000
CLIENTS = (1, 16)
LAST = """
    SELECT originator_version, topic, state, kind FROM events
    WHERE originator_id = %s ORDER BY originator_version DESC LIMIT 1
"""
COPY = """
    COPY events (originator_id, originator_version, topic, state, cause, kind, amount,
                 balance_after) FROM STDIN (FORMAT binary)
"""
FORGET = "DELETE FROM snapshots WHERE originator_id = %s"


def measure_long(contest: Contest) -> None:
    """First touches with an empty cache, then 1 and 16 clients on the long and on a new account."""
    events = EVENTS_QUICK if contest.pace.quick else EVENTS
    contest.report.say(f"an account with {events:,} events")
    with contest.charging() as first:
        sample = first.run("touch", 1, ["long"], 0, contest.tag())
        contest.check("touch", sample)
    with psycopg.connect(contest.ledger.conninfo()) as connection:
        lengthen(connection, account_id("long"), events)
        connection.execute(FORGET, (account_id("long"),))
    with psycopg.connect(contest.ledger.conninfo(owner=True)) as connection:
        connection.execute("ANALYZE events")  # as the server does by itself while a ledger grows
    contest.books.skip()
    fresh = contest.fresh.copy()
    # Without a snapshot every event is folded: once is enough to know it.
    _touch(contest, "long", events, "without a snapshot", 1)
    _touch(contest, "long", events, "with a snapshot", contest.pace.rounds)
    _touch(contest, fresh.pop(), 0, "on a new account", 1)
    with contest.charging() as chargers:
        chargers.run("charge", 16, ["long"], 0.2, contest.tag())  # warm, and uncounted
        contest.books.skip()
        for clients in CLIENTS:
            contest.place.rest()
            new, long = in_turn(
                contest.pace.rounds,
                lambda _, n=clients: contest.charge(chargers, n, [fresh.pop()]),  # type: ignore[misc]
                lambda _, n=clients: contest.charge(chargers, n, ["long"]),  # type: ignore[misc]
            )
            contest.report.add("daybook, new account", new, clients=clients, accounts=1)
            contest.report.add(
                "daybook, long account",
                long,
                clients=clients,
                accounts=1,
                note=f"{events:,} events",
            )


def _touch(contest: Contest, account: str, events: int, how: str, rounds: int) -> None:
    samples: list[Sample] = []
    for _ in range(rounds):
        with contest.charging() as chargers:
            warm = chargers.run("touch", 1, ["hot"], 0, contest.tag())  # the price book, too
            sample = chargers.run("touch", 1, [account], 0, contest.tag())
        contest.check(f"first touch {how}", _with(warm, sample))
        sample.ended = sample.began + sample.waits[0]
        samples.append(sample)
    contest.report.add(
        f"first touch {how}", samples, clients=1, accounts=1, note=f"{events:,} events"
    )


def _with(warm: Sample, sample: Sample) -> Sample:
    """The sample, with the facts of both."""
    facts = {name: warm.facts[name] + sample.facts[name] for name in ("debits", "spent")}
    return Sample(sample.acts, sample.ended, sample.waits, facts)


def lengthen(connection: psycopg.Connection, stream: UUID, events: int) -> None:
    """Repeat the stream's last debit until it has so many events, every balance right."""
    row = connection.execute(LAST, (stream,)).fetchone()
    assert row is not None
    version, topic, state, kind = row
    debit = decode_fact(topic, state)
    assert isinstance(debit, Debited) and debit.usage is not None
    usage, amount = debit.usage, debit.amount
    replace = msgspec.structs.replace
    with connection.cursor().copy(COPY) as copy:
        copy.set_types(["uuid", "int8", "text", "bytea", "text", "text", "int8", "int8"])
        for step in range(1, events - version + 1):
            balance = debit.balance_after - step * amount
            again = replace(
                debit, balance_after=balance, usage=replace(usage, event_id=f"long-{step}")
            )
            copy.write_row(
                (
                    stream,
                    version + step,
                    topic,
                    encode_fact(again),
                    again.unique_cause(),
                    kind,
                    -amount,
                    balance,
                )
            )
