"""What issues 2 and 3 aim at, and whether this run met it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scripts.benchmarks.rows import Report, Row


@dataclass(frozen=True)
class Aim:
    """A figure and the bound that it should keep: at least, or ``most`` at most."""

    what: str
    value: float
    bound: float
    unit: str = "×"
    most: bool = False

    @property
    def met(self) -> bool:
        """Whether the bound is kept."""
        return self.value <= self.bound if self.most else self.value >= self.bound


def aims(report: Report) -> list[Aim]:
    """Every aim whose rows were measured."""
    return list(_write(report) if report.bench == "write" else _http(report))


def _ratio(
    what: str,
    one: Row | None,
    other: Row | None,
    bound: float,
    figure: Callable[[Row], float] = lambda row: row.per_s,
    *,
    most: bool = False,
) -> Iterator[Aim]:
    if one is not None and other is not None and figure(other):
        yield Aim(what, figure(one) / figure(other), bound, most=most)


def _write(report: Report) -> Iterator[Aim]:
    def row(case: str, clients: int, accounts: int = 1000) -> Row | None:
        return report.find(case, clients=clients, accounts=accounts)

    def single(clients: int, accounts: int) -> Row | None:
        return report.find("daybook", clients=clients, accounts=accounts, processes=1)

    def floor(found: Row | None) -> Row | None:
        return report.floor_of(found) if found is not None else None

    for clients, accounts, bound in ((16, 1000, 2), (16, 1, 4), (64, 1000, 5), (64, 1, 5)):
        yield from _ratio(
            f"{clients} clients on {accounts:,}: rate against the floor's",
            single(clients, accounts),
            floor(single(clients, accounts)),
            bound,
        )
    for clients in (16, 64, 256):
        yield from _ratio(
            f"{clients} clients: one hot account against the thousand",
            single(clients, 1),
            single(clients, 1000),
            0.9,
        )
    yield from _ratio(
        "256 clients: rate against the bare insert's",
        single(256, 1000),
        row("bare insert", 256),
        0.5,
    )
    for accounts in (1000, 1):
        yield from _ratio(
            f"one client on {accounts:,}: p50 against the floor's",
            single(1, accounts),
            floor(single(1, accounts)),
            2,
            lambda found: found.p50_ms,
            most=True,
        )
    yield from _ratio(
        "bulk: rate against the set-based floor's (50,000/s where it does 90,000)",
        report.find("bulk"),
        report.find("bulk floor"),
        50 / 90,
    )
    for clients in (1, 16):
        yield from _ratio(
            f"long account, {clients} clients: rate against a new one's",
            row("daybook, long account", clients, 1),
            row("daybook, new account", clients, 1),
            0.9,
        )

    yield from _ratio(
        "64 clients: a settlement's cost against a plain debit's",
        report.find("plain debit, as many"),
        report.find("settle"),
        1.3,
        most=True,
    )


def _http(report: Report) -> Iterator[Aim]:
    for accounts in (1000, 1):
        yield from _ratio(
            f"32 connections on {accounts:,}: POST /v1/usage against doing nothing",
            report.find("usage", clients=32, accounts=accounts),
            report.find("nothing", clients=32),
            0.6,
        )
    for size in (100, 1000):
        found = report.find(f"usage batch of {size}")
        if found is not None:
            yield Aim(f"batches of {size}: usages a second", found.per_s, 15_000, "/s")
    if (catching := report.find("runner catching up")) is not None:
        yield Aim("runner catching up: events a second", catching.per_s, 60_000, "/s")
    if (lag := report.find("runner lag")) is not None:
        yield Aim("runner lag at half load: p99", lag.p99_ms, 50, " ms", most=True)
