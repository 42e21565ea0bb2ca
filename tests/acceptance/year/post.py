"""The post between Stripe and us in the simulated year: late, twice, out of order, or never."""

from __future__ import annotations

from random import Random

from adapters.stripe.sandbox.books import Books
from tests.api.sandboxed import Sandboxed

AT_ONCE = 6
"""Events under way at a time, where whoever takes them in lives in a process of its own."""

BAG = 24
"""Events that are handed over together."""

ON_TIME, LATE, TWICE = 0.72, 0.12, 0.06
"""What becomes of an event while the line is up; the rest is lost."""


class Post:
    """Carries Stripe's events. An outage loses everything; otherwise each has its own fate, which
    is drawn when it happened."""

    def __init__(self, shop: Sandboxed, random: Random, *, is_mortal: bool) -> None:
        assert shop.sandbox.books is not None
        self._shop = shop
        self._random = random
        # 503: Stripe did not answer us just then, or we were dying. Both sides try again.
        self._good: tuple[int | None, ...] = (200, 503, None) if is_mortal else (200, 503)
        self._at_once = AT_ONCE if is_mortal else 1
        self._books: Books = shop.sandbox.books
        self._late: dict[str, int] = {}  # event -> turns that it is on its way
        self.is_down = False
        self.lost = self.carried = 0

    def turn(self) -> None:
        """Carry what is due."""
        now: list[str] = []
        for delivery in self._shop.sandbox.control.webhooks("pending"):
            event = delivery["event"]
            if event in self._late:
                self._late[event] -= 1
                if self._late[event] <= 0:
                    del self._late[event]
                    now.append(event)
                continue
            fate = self._random.random()
            if self.is_down:
                self._lose(event)
            elif fate < ON_TIME:
                now.append(event)
            elif fate < ON_TIME + LATE:
                self._late[event] = self._random.randint(1, 6)
            elif fate < ON_TIME + LATE + TWICE:
                now += [event, event]
            else:
                self._lose(event)
        if self._random.random() < 0.3:
            self._random.shuffle(now)
        self.carried += len(now)
        for start in range(0, len(now), BAG):
            some = now[start : start + BAG]
            for done in self._shop.sandbox.control.deliver(some, at_once=self._at_once):
                assert done["status"] in self._good, f"{done['id']} {done['type']}: {done}"

    def lose_all(self) -> None:
        """Nothing that is under way arrives any more."""
        for delivery in self._shop.sandbox.control.webhooks("pending"):
            self._lose(delivery["event"])

    def _lose(self, event: str) -> None:
        """Stripe tried for three days, and gave up."""
        [delivery] = self._books.find("sandbox.delivery", event=event)
        self._books.put(delivery | {"state": "failed", "due": None})
        self._late.pop(event, None)
        self.lost += 1
