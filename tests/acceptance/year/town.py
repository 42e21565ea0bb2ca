"""A town of workspaces that lives for a year: one deployment, one Stripe, one clock, one seed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import httpx

from adapters.stripe.sandbox.books import Books, Json
from tests.acceptance.year.mortal import Mortal
from tests.acceptance.year.post import Post
from tests.api.sandboxed import KEY, Sandboxed

MODELS = ("gpt-5.4", "gpt-5.4-mini", "gpt-4o-mini", "claude-sonnet-4-6")
REFUSALS = frozenset({402, 403, 409})
"""How a customer's wish may end beside success: these are decisions, not accidents."""


AT_ONCE = 6
BROKEN = (httpx.TransportError,)
MISSED_S = 61
"""A key whose first request died with a worker is free again after a minute."""

PERSISTENCE, PAUSE_S = 300, 0.1

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Act = Callable[[], None]


class Request(NamedTuple):
    """What somebody asked of us, under which key, and when by the machine's own clock."""

    act: str
    method: str
    path: str
    body: Any
    workspace: str | None
    key: str | None
    at: float = 0.0
    is_again: bool = False


class Town:
    """What every workspace shares. Time goes forward only, and whole seconds at a time."""

    def __init__(self, shop: Sandboxed, seed: int, start: datetime) -> None:
        assert shop.sandbox.books is not None
        self.shop = shop
        self.books: Books = shop.sandbox.books
        self.random = Random(seed)
        self.post = Post(shop, self.random, is_mortal=isinstance(shop, Mortal))
        self.now = start
        self.acts: Counter[str] = Counter()
        self.reconciled_at = start
        self.is_stormy = False
        self.is_mortal = isinstance(shop, Mortal)
        self.crowd = ThreadPoolExecutor(AT_ONCE if self.is_mortal else 1)
        self._reaper = shop.reaper if isinstance(shop, Mortal) else None
        self._stripe = httpx.Client(base_url=shop.sandbox.url, auth=(KEY, ""), timeout=60)
        self._unanswered: deque[Request] = deque()
        self._numbers = iter(range(1, 10**9))
        self.go_to(start)

    # Time.

    def go_to(self, now: datetime) -> None:
        """Move both clocks; nobody looks yet."""
        self.now = now
        self.shop.to(stamp(now))
        stands = self.shop.sandbox.control.clock(unix(now))
        assert stands == unix(now), f"Stripe's clock stands at {stands}"

    def tick(self) -> None:
        """Timers fire, and our own log is followed."""
        self.acts["tick"] += 1
        self._persist("/v1/test/tick", {})

    def reconcile(self) -> list[Any]:
        """Compare with Stripe since the last time; what is left unexplained."""
        days = min((self.now - self.reconciled_at).days + 2, 30)
        report = self._persist("/v1/admin/reconcile", {"days": days})
        self.reconciled_at = self.now
        self.acts["reconcile"] += 1
        self.acts["repaired"] += len(report["applied"])
        return list(report["mismatches"])

    def _persist(self, path: str, body: Json) -> Any:
        """Do what must be done in the end; only who dies may leave it for another time."""
        left = PERSISTENCE if self.is_mortal else 0
        while (answer := self.shop.app.post(path, body)).status_code in (409, 503) and left:
            left -= 1
            time.sleep(PAUSE_S)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.json()

    # What is nobody's wish.

    def strike(self) -> None:
        """A process dies, if this is a deployment that does."""
        if self._reaper is not None:
            self._reaper.strike()

    def rest(self) -> None:
        """Nothing dies any more."""
        if self._reaper is not None:
            self._reaper.rest()

    @property
    def kills(self) -> Counter[str]:
        """Who was killed how often."""
        return Counter() if self._reaper is None else self._reaper.kills

    def turn_weather(self, storms: float) -> None:
        """For a while calls to Stripe break off, before or after they were carried out."""
        before, self.is_stormy = self.is_stormy, self.chance(0.3 if self.is_stormy else storms)
        if not before and not self.is_stormy:
            return
        script = []
        if self.is_stormy:
            fault = self.random.choice(("drop", "drop_after", "error"))
            script = [{"path": "*", "fault": fault, "times": self.random.randint(1, 4)}]
            self.acts[f"storm {fault}"] += 1
        self.shop.sandbox.control.script(*script)

    def clear_up(self) -> None:
        """The weather is fine again."""
        if self.is_stormy:
            self.is_stormy = False
            self.shop.sandbox.control.script()

    # Talking to both sides.

    def ask(
        self, act: str, method: str, path: str, body: Any = None, workspace: str | None = None
    ) -> Any:
        """Ask our API for something; its JSON, or None where it was refused.

        An answer that is neither success nor a refusal fails the year."""
        keyed = method == "POST" and path != "/v1/usage/batch"  # whose items have their own ids
        key = f"year-{next(self._numbers)}" if keyed else None
        return self._ask(Request(act, method, path, body, workspace, key))

    def ask_again(self, *, patiently: bool = False) -> None:
        """Whoever was not answered, and can ask again without asking twice, does so. Where the
        one who died has not been missed yet it comes later, unless they ask ``patiently``."""
        while self._unanswered and (
            patiently or time.monotonic() - self._unanswered[0].at > MISSED_S
        ):
            request = self._unanswered.popleft()
            self.acts["asked again"] += 1
            self._ask(request._replace(at=time.monotonic(), is_again=True))
            if patiently:
                time.sleep(PAUSE_S)

    def _ask(self, request: Request) -> Any:
        act, method, path, body, workspace, key, *_ = request
        headers = {"Idempotency-Key": key} if key is not None else None
        answer = self.shop.app.call(method, path, body, workspace=workspace, headers=headers)
        if answer.is_success:
            self.acts[act] += 1
            if answer.status_code == 202 and not request.is_again:
                # Nobody knows whether Stripe heard of it: whoever asked looks again later.
                self._unanswered.append(request._replace(at=time.monotonic()))
            return answer.json()
        known = REFUSALS | {503} if self.is_stormy or self.is_mortal else REFUSALS
        assert answer.status_code in known, f"{act} {path} {body}: {answer.text}"
        code = answer.json()["code"]
        self.acts[f"{act}: {code}"] += 1
        if (
            self.is_mortal
            and key is not None
            and (answer.status_code == 503 or code == "idempotency_in_progress")
        ):
            self._unanswered.append(request._replace(at=time.monotonic()))
        return None

    def at_stripe(self, method: str, path: str, **params: Any) -> Json | None:
        """Somebody does something at Stripe, not through us; None where Stripe refused."""
        self.clear_up()  # the storm is on our line only
        for _ in range(20 if self.is_mortal else 1):  # others may have brought a storm
            with suppress(*BROKEN) if self.is_mortal else nullcontext():
                answer = self._stripe.request(method, f"/v1{path}", data=params)
                if answer.status_code < 500:
                    return dict(answer.json()) if answer.is_success else None
        raise AssertionError(f"{method} {path} is not answered")

    def order(self, path: str, **told: Any) -> Json:
        """Tell the sandbox what a person or a bank does."""
        return dict(self.shop.sandbox.control.post(path, **told))

    def number(self) -> int:
        """A number that nothing else has."""
        return next(self._numbers)

    def chance(self, of: float) -> bool:
        """Whether something happens."""
        return self.random.random() < of


def stamp(moment: datetime) -> str:
    """RFC 3339, UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def unix(moment: datetime) -> int:
    """Whole seconds."""
    return int(moment.timestamp())
