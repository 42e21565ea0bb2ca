"""Clients whose requests are carried out by threads, for what blocks while it asks."""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Generator

from scripts.benchmarks.clients import Order, no_waits


def in_threads(
    order: Order, work: Callable[[int], Generator[None]], threads: int | None = None
) -> array[float]:
    """Run an order's clients in so many threads, or in one for each: the generator of a thread's
    number makes ready until its first ``yield``, and then asks once until each of the next.
    Returns every wait; a client without a thread waits for one, as it would for a pool's."""
    count = order.clients if threads is None else threads
    samples = [no_waits() for _ in range(count)]
    broken: list[BaseException] = []
    ready = deque([order.begin] * order.clients)

    def run(number: int) -> None:
        steps = work(number)
        try:
            next(steps)
            time.sleep(max(0.0, order.begin - time.monotonic()))
            while ready:
                asked = ready.popleft()
                next(steps)
                now = time.monotonic()
                samples[number].append(now - asked)
                if now < order.end:
                    ready.append(now)
        except IndexError:
            pass  # another thread took the last one
        except BaseException as error:
            broken.append(error)
        finally:
            steps.close()

    started = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if broken:
        raise broken[0]
    return no_waits(wait for sample in samples for wait in sample)
