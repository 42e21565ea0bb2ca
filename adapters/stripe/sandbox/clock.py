"""Time in the sandbox: what falls due is done at its second, in order, however far time moves."""

from __future__ import annotations

from adapters.stripe.sandbox.route import DUE, Books

AT_ONE_INSTANT_MAX = 10_000
"""Work may make work for the same second, but not for ever."""


class Clockwork:
    """Does what time brings. It remembers when something is next due, until something changes."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._seen: tuple[int, int | None] = (-1, 0)

    def catch_up(self) -> None:
        """Do everything that is due by now, and go on to where a test clock was told to go."""
        ordered = self._books.look("sandbox.advance", "advance")
        if ordered is not None:
            with self._books.transaction():
                self._books.remove("advance")
            self.advance(max(ordered["to"], self._books.now()))
        self.run(self._books.now())

    def advance(self, instant: int | None) -> int:
        """Move the clock forward to `instant` and stop it there, or let it go on (None).

        What falls due on the way is done at its own second. Answers the time it is then.
        """
        if instant is not None:
            self.run(instant)
        with self._books.transaction():
            self._books.freeze(instant)
        self.catch_up()
        return self._books.now()

    def run(self, until: int) -> None:
        """Do what is due up to this instant."""
        writes, due = self._seen
        if writes == self._books.writes and (due is None or due > until):
            return
        # From the beginning of time: what fell due while the server was down is done late,
        # but at the second that it should have been done.
        instant, repeats = 0, 0
        while True:
            due = self._work(instant)
            if due is None or due > until:
                self._seen = (self._books.writes, due)
                return
            repeats = repeats + 1 if due <= instant else 0
            if repeats > AT_ONE_INSTANT_MAX:
                raise RuntimeError(f"something is due at {due} for ever")
            instant = max(instant, due)

    def _work(self, instant: int) -> int | None:
        with self._books.transaction(), self._books.at(instant):
            times = [work(self._books, instant) for work in DUE]
        return min((time for time in times if time is not None), default=None)
