"""The library's plain way: a classic aggregate and one `Application.save` a debit, in threads."""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from itertools import count
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError
from psycopg.conninfo import conninfo_to_dict

from scripts.benchmarks.clients import Order, Sample, no_waits
from scripts.benchmarks.threads import in_threads

OPENING = 10**15


class InsufficientCredits(Exception):
    """More was asked for than is there."""


class PlainAccount(Aggregate):
    """Prepaid credits as the library's documentation would write them."""

    class Opened(Aggregate.Created):
        """There is an account, with this much in it."""

        balance: int

    class Debited(Aggregate.Event):
        """Credits were spent."""

        amount: int
        cause: str
        model: str
        tokens_in: int
        tokens_out: int

    @event(Opened)
    def __init__(self, balance: int, id: UUID) -> None:
        self.balance = balance
        self._own_id = id

    @staticmethod
    def create_id(id: UUID) -> UUID:
        """Named by the caller."""
        return id

    def debit(self, amount: int, cause: str) -> None:
        """Spend, or refuse."""
        if amount > self.balance:
            raise InsufficientCredits
        self.take(amount=amount, cause=cause, model="gpt-5.4", tokens_in=1234, tokens_out=321)

    @event(Debited)
    def take(self, amount: int, cause: str, model: str, tokens_in: int, tokens_out: int) -> None:
        """Fold a debit."""
        self.balance -= amount


class PlainLedger(Application[UUID]):
    """The default recorder, with the library's own cache."""

    name = "plain"


class Plain:
    """The library's clients of one process."""

    def __init__(self, conninfo: str) -> None:
        parts = conninfo_to_dict(conninfo)
        self._app = PlainLedger(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.postgres",
                "POSTGRES_DBNAME": str(parts["dbname"]),
                "POSTGRES_HOST": str(parts["host"]),
                "POSTGRES_PORT": str(parts["port"]),
                "POSTGRES_USER": str(parts["user"]),
                "POSTGRES_PASSWORD": str(parts["password"]),
                "POSTGRES_POOL_SIZE": "16",
                "POSTGRES_MAX_OVERFLOW": "16",
                # Without it every debit would read its account's whole history.
                "AGGREGATE_CACHE_MAXSIZE": "2000",
            }
        )

    def run(self, order: Order) -> Sample:
        """Orders: ``open`` the accounts, or ``debit`` them."""
        accounts = [uuid5(NAMESPACE_URL, name) for name in order.accounts]
        if order.task == "open":
            self._app.save(*(PlainAccount(balance=OPENING, id=id) for id in accounts))
            return Sample(len(accounts), time.monotonic(), no_waits())
        conflicts = [0] * order.clients

        def client(number: int) -> Generator[None]:
            draw = random.Random(f"{order.tag}.{number}")
            yield
            for turn in count():
                id = draw.choice(accounts)
                conflicts[number] += self._debit(id, f"{order.tag}.{number}.{turn}")
                yield

        waits = in_threads(order, client)
        return Sample(len(waits), time.monotonic(), waits, {"conflicts": sum(conflicts)})

    def _debit(self, id: UUID, cause: str) -> int:
        """Until it is saved; how often another thread was first."""
        for conflicts in count():
            account: PlainAccount = self._app.repository.get(id)
            account.debit(137, cause)
            try:
                self._app.save(account)
            except IntegrityError:
                continue
            return conflicts
        raise AssertionError("unreachable")
