"""Clients that are threads, for what blocks while it asks."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterator

from scripts.benchmarks.clients import Order, no_waits


def in_threads(order: Order, client: Callable[[int], Iterator[None]]) -> array[float]:
    """Run an order's clients, each in a thread: the generator of its number makes ready until its
    first ``yield``, and then asks once until each of the next. Returns every wait."""
    samples = [no_waits() for _ in range(order.clients)]
    broken: list[BaseException] = []

    def work(number: int) -> None:
        steps = client(number)
        try:
            next(steps)
            time.sleep(max(0.0, order.begin - time.monotonic()))
            while (began := time.monotonic()) < order.end:
                next(steps)
                samples[number].append(time.monotonic() - began)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(order.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    return no_waits(wait for sample in samples for wait in sample)
