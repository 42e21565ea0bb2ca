"""The auditor's own sums of usage, from all events, against the two read models of usage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from operator import add
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from psycopg import Connection

from domain.account.usage import Usage
from domain.account.usage_facts import Debited, Draw, UsageRated, UsageVoided
from domain.catalogue.price_book import Rated
from domain.facts import Fact
from projections.account_check import Finding
from projections.act import LABELS, SUMS, Counted, Labels, added, parts_of, place_of, storable

CHUNK = 20_000
Key: TypeAlias = tuple[UUID, int, Labels]

HOURLY = f"""
    SELECT stream, (extract(epoch FROM bucket) / 900)::bigint, {", ".join(LABELS)},
           {", ".join(SUMS)}
    FROM usage_hourly JOIN usage_labels USING (labels)
"""  # noqa: S608 - names of ours
ITEM_SUMS = (
    *("acts", "input_tokens", "output_tokens", "wallet", "overage", "external", "absorbed"),
    *("units", "included_units", "overage_units", "absorbed_units"),
    *("provider_cost", "total_cost"),
)
ITEMS = f"""
    SELECT stream, floor(extract(epoch FROM occurred_at) / 900)::bigint, {", ".join(LABELS)},
           count(*), {", ".join(f"coalesce(sum({name}), 0)::bigint" for name in ITEM_SUMS[1:])}
    FROM usage_events WHERE voided_at IS NULL
    GROUP BY stream, 2, {", ".join(LABELS)}
"""  # noqa: S608 - names of ours


class UsageCheck(ABC):
    """Sums by account, quarter-hour and labels."""

    table: ClassVar[str]
    query: ClassVar[str]
    sums: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self._folded: dict[Key, tuple[int, ...]] = {}

    @abstractmethod
    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Add what an event says about usage."""

    def differences(self, connection: Connection[Any]) -> Iterator[Finding]:
        """Every sum that the table puts otherwise. Consumes what was folded."""
        nothing = (0,) * len(self.sums)
        with connection.cursor(name=self.table, binary=True) as cursor:
            cursor.itersize = CHUNK
            cursor.execute(self.query.encode())
            for stream, bucket, *values in cursor:
                labels = tuple(values[: len(LABELS)])
                written = tuple(values[len(LABELS) :])
                folded = self._folded.pop((stream, bucket, labels), nothing)
                if folded != written:
                    yield from self._findings((stream, bucket, labels), written, folded)
        for key, folded in self._folded.items():
            if folded != nothing:
                yield from self._findings(key, nothing, folded)

    def _findings(
        self, key: Key, written: tuple[int, ...], folded: tuple[int, ...]
    ) -> Iterator[Finding]:
        stream, bucket, labels = key
        where = "/".join(label or "" for label in labels)
        for name, projected, replayed in zip(self.sums, written, folded, strict=True):
            if projected != replayed:
                yield stream, f"{self.table} {bucket} {where} {name}", projected, replayed

    def _add(self, key: Key, sums: tuple[int, ...]) -> None:
        before = self._folded.get(key)
        self._folded[key] = sums if before is None else tuple(map(add, before, sums))


class HourlyCheck(UsageCheck):
    """The sums of usage_hourly."""

    table = "usage_hourly"
    query = HOURLY
    sums = SUMS

    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Add what an act, its rating or its void adds."""
        if isinstance(fact, Counted) and fact.usage is not None:
            self._add(_key(stream, fact), added(fact))


class ItemsCheck(UsageCheck):
    """The rows of usage_events, added up; a voided one counts for nothing."""

    table = "usage_events"
    query = ITEMS
    sums = ITEM_SUMS

    def __init__(self) -> None:
        super().__init__()
        self._rated: dict[str, Key] = {}

    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Add what an act is, take away what its void takes, complete what is rated later."""
        if not isinstance(fact, Counted):
            return
        if isinstance(fact, Debited) and fact.usage is None:
            key = self._rated.pop(fact.rates_usage_id or "", None)
            if key is not None:
                self._add(key, (0, 0, 0, fact.amount, *(0,) * 9))
            return
        key = _key(stream, fact)
        if isinstance(fact, UsageRated):
            self._rated[fact.usage_id] = key
            lost = parts_of(fact.draws).absorbed
            rated = (fact.rated.provider_cost, fact.rated.total)
            self._add(key, (*(0,) * 6, lost, *(0,) * 4, *rated))
            return
        assert fact.usage is not None
        sums = _item(fact.usage, fact.draws, fact.rated, fact.units)
        if isinstance(fact, UsageVoided):
            sums = tuple(-number for number in sums)
        self._add(key, sums)


def _key(stream: UUID, fact: Counted) -> Key:
    bucket, labels = place_of(fact)
    return stream, bucket, tuple([label and storable(label) for label in labels])


def _item(
    usage: Usage, draws: tuple[Draw, ...], rated: Rated | None, units: int
) -> tuple[int, ...]:
    parts = parts_of(draws)
    return (
        *(1, usage.tokens.input, usage.tokens.output),
        *(parts.wallet, parts.overage, parts.external, parts.absorbed),
        *(units, parts.included_units, parts.overage_units, parts.absorbed_units),
        *((rated.provider_cost, rated.total) if rated is not None else (0, 0)),
    )
