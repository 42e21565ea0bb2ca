"""What can go wrong on the way to Stripe, on request: for the next calls that match."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, get_args

from adapters.stripe.sandbox.errors import StripeError, invalid

Fault = Literal["error", "rate_limit", "timeout", "timeout_after", "drop", "drop_after", "hold"]
"""error: 500 and nothing is done. rate_limit: 429. timeout: no answer, and nothing is done.
timeout_after: it is done, and there is no answer. drop: the connection breaks and nothing is
done. drop_after: it is done, and then the connection breaks. hold: it waits for `release`, and
is then done and answered."""


@dataclass
class Expected:
    """A fault for the next `times` requests of `method` to `path` ("*": any)."""

    path: str
    fault: Fault
    method: str
    times: int


class Faults:
    """The script of what goes wrong next."""

    def __init__(self) -> None:
        self._expected: list[Expected] = []
        self._released = asyncio.Event()
        self.held = 0
        """How many requests are held now."""

    def expect(self, script: list[dict[str, Any]]) -> None:
        """Take a script: [{"path", "fault", "method"?, "times"?}], in place of the former."""
        for step in script:
            if step.get("fault") not in get_args(Fault):
                raise invalid(f"Unknown fault: {step.get('fault')}", "fault")
        self._expected = [
            Expected(
                step["path"], step["fault"], step.get("method", "POST"), int(step.get("times", 1))
            )
            for step in script
        ]

    def next(self, method: str, path: str, template: str) -> Fault | None:
        """The fault that is due for this request, if one is; it is used up."""
        for expected in self._expected:
            if expected.method == method and expected.path in (path, template, "*"):
                expected.times -= 1
                if expected.times < 1:
                    self._expected.remove(expected)
                return expected.fault
        return None

    def pending(self) -> list[dict[str, Any]]:
        """The faults that nobody met yet."""
        return [vars(expected) for expected in self._expected]

    async def hold(self) -> None:
        """Wait until the held requests are released."""
        self.held += 1
        try:
            await self._released.wait()
        finally:
            self.held -= 1

    def release(self) -> None:
        """Let all that is held go on."""
        self._released.set()
        self._released = asyncio.Event()


def refusal(fault: Fault | None) -> StripeError | None:
    """The error that a fault answers at once, if it answers."""
    if fault == "error":
        text = "Sorry! There was an error while talking to our servers."
        return StripeError(500, "api_error", text)
    if fault == "rate_limit":
        text = "Too many requests hit the API too quickly."
        return StripeError(429, "invalid_request_error", text, "rate_limit")
    return None
