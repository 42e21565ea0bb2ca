"""Contestants, each in a process of its own that stays between rounds."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Protocol, Self

from scripts.benchmarks.clients import Order, Sample, together

LEAD_S = 0.05
"""How long after an order is given everybody begins, so that they begin together."""


class Contestant(Protocol):
    """Lives in a process of its own and carries out orders, one after the other."""

    def run(self, order: Order) -> Sample:
        """Do what is asked; blocks until it is done."""
        ...


class CrewFailed(RuntimeError):
    """A contestant broke; the message is its traceback."""


class Crew:
    """One or more processes with the same contestant in each."""

    def __init__(
        self, make: Callable[..., Contestant], *arguments: Any, processes: int = 1
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Connection[Any, Any]] = []
        self._processes: list[SpawnProcess] = []
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            self._hear(pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    def each(
        self,
        task: str,
        clients: int,
        accounts: Sequence[str],
        seconds: float,
        tag: str,
        *,
        processes: int = 1,
        **options: int,
    ) -> list[Sample]:
        """Let some of the processes share the clients; what came of it in each."""
        begin = time.monotonic() + LEAD_S
        pipes = self._pipes[:processes]
        for number, pipe in enumerate(pipes):
            own = clients // processes + (number < clients % processes)
            mark = f"{tag}.{number}"
            pipe.send(Order(task, own, accounts, begin, seconds, mark, options))
        samples: list[Sample] = [self._hear(pipe) for pipe in pipes]
        for sample in samples:
            sample.began = begin
        return samples

    def run(
        self,
        task: str,
        clients: int,
        accounts: Sequence[str],
        seconds: float,
        tag: str,
        *,
        processes: int = 1,
        **options: int,
    ) -> Sample:
        """As `each`, taken together."""
        return together(
            self.each(task, clients, accounts, seconds, tag, processes=processes, **options)
        )

    def _hear(self, pipe: Connection[Any, Any]) -> Any:
        try:
            said = pipe.recv()
        except EOFError:
            raise CrewFailed("a contestant's process ended") from None
        if isinstance(said, str) and said:
            raise CrewFailed(said)
        return said


def _serve(pipe: Connection[Any, Any], make: Callable[..., Contestant], given: Any) -> None:
    try:
        contestant = make(*given)
        pipe.send("")
        while True:
            order = pipe.recv()
            pipe.send(contestant.run(order))
    except (EOFError, KeyboardInterrupt):
        return
    except BaseException:
        pipe.send(traceback.format_exc())
