"""32 clients on one account with 1,000 units of anything left: exactly those are spent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.spending import authorize, done, funding, generate, on_plan, put, use
from tests.api.conftest import PATIENCE_S, Served
from tests.api.gateway.provider import gateway, script

CLIENTS = 32
ROUNDS = int(os.environ.get("DAYBOOK_ROUNDS", "12"))
UNITS = 1_000
COST = 40  # of a call: the limit is a multiple of it
CLAUDE = {"llm_model": "claude-sonnet-4-6"}
QUOTA = "/v1/billing/compile-quota"


@pytest.fixture
def faces(database: Database, tmp_path: Path) -> Iterator[Served]:
    """Appendix A without markup, in front of a scripted provider."""
    path = catalogue(tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"))
    with gateway(database, path, upstream_patience_s=PATIENCE_S) as served:
        yield served


@pytest.fixture
def flarex(database: Database) -> Iterator[Served]:
    """Appendix A."""
    with gateway(database, "flarex") as served:
        yield served


def drawn(act: httpx.Response) -> int:
    """What an act drew, in µ or in units; 0 if nobody paid."""
    if act.status_code == 402:
        return 0
    return sum(units or amount for amount, units in funding(act).values())


def client(
    app: Served,
    workspace: str,
    number: int,
    charge: Callable[..., httpx.Response],
    input: int,
    **ask: Any,
) -> int:
    """One call: charged at once, or after a hold, or given up."""
    if number % 2:
        return drawn(charge())
    hold = authorize(app, workspace, input, **ask)
    if hold.status_code == 402:
        return 0
    hold_id = done(hold)["hold_id"]
    if number % 8 == 0:
        released = app.call("DELETE", f"/v1/usage/holds/{hold_id}", workspace=workspace)
        assert released.status_code == 200, released.text
        return 0
    return drawn(charge(hold_id=hold_id))


def storm(call: Callable[[int], int], after: Callable[[], httpx.Response]) -> list[int]:
    """Every client calls several times; then somebody takes what holds gave back too late."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        charged = list(pool.map(call, range(CLIENTS * 3)))
    while amount := drawn(after()):
        charged.append(amount)
    return [amount for amount in charged if amount]


def test_allowance(faces: Served) -> None:
    for _ in range(ROUNDS):
        workspace = on_plan(faces, "connect")
        done(use(faces, workspace, "compile", 100_000 - UNITS))

        def charge(workspace: str = workspace, **changes: Any) -> httpx.Response:
            return use(faces, workspace, "compile", COST, **CLAUDE, **changes)

        def call(number: int, workspace: str = workspace, charge: Any = charge) -> int:
            return client(faces, workspace, number, charge, COST, meter="compile", **CLAUDE)

        charged = storm(call, charge)

        assert charged == [COST] * (UNITS // COST)
        assert faces.get(QUOTA, workspace)["tokens_remaining"] == 0


def test_wallet(faces: Served) -> None:
    for _ in range(ROUNDS):
        workspace = on_plan(faces, "connect", "0.003")

        def charge(workspace: str = workspace, **changes: Any) -> httpx.Response:
            return use(faces, workspace, "chat", COST, **CLAUDE, **changes)

        def call(number: int, workspace: str = workspace, charge: Any = charge) -> int:
            return client(faces, workspace, number, charge, COST, **CLAUDE)

        charged = storm(call, charge)

        assert charged == [3 * COST] * (UNITS // COST)
        assert faces.balance(workspace) == 0


def test_wallet_by_the_gateway(faces: Served) -> None:
    script(faces, "ok", COST)
    body = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    for _ in range(ROUNDS):
        workspace = faces.workspace("0.003")

        def call(number: int, workspace: str = workspace) -> bool:
            asked = body | {"stream": bool(number % 2)}
            answer = faces.call("POST", "/v1/chat/completions", asked, workspace=workspace)
            assert answer.status_code in (200, 402), answer.text
            return answer.status_code == 200

        with ThreadPoolExecutor(CLIENTS) as pool:
            served = sum(pool.map(call, range(CLIENTS * 2)))
        while call(0):
            served += 1

        assert faces.balance(workspace) == 0
        assert served == UNITS // COST
        assert faces.facts(workspace).count("Debited") == served


def test_credits(flarex: Served) -> None:
    for _ in range(ROUNDS):
        workspace = on_plan(flarex, "starter")

        def charge(workspace: str = workspace, **changes: Any) -> httpx.Response:
            return generate(flarex, workspace, COST * 1_000, **changes)

        def call(number: int, workspace: str = workspace, charge: Any = charge) -> int:
            ask = {"meter": "chat_generation", "llm_model": None}
            return client(flarex, workspace, number, charge, COST * 1_000, **ask)

        charged = storm(call, charge)

        assert charged == [COST] * (UNITS // COST)
        included = flarex.get("/v1/billing/overage", workspace)["included"]
        assert included == {"granted": UNITS, "used": UNITS, "remaining": 0}


def test_overage_within_a_hard_budget(flarex: Served) -> None:
    """1,000 credits at $0.02."""
    for _ in range(ROUNDS):
        workspace = on_plan(flarex, "starter")
        done(generate(flarex, workspace, 1_000_000))
        put(flarex, "/v1/billing/overage", {"enabled": True}, workspace)
        put(flarex, "/v1/billing/budgets/cap", {"limit_usd": 20, "hard": True}, workspace)

        def charge(workspace: str = workspace, **changes: Any) -> httpx.Response:
            return generate(flarex, workspace, COST * 1_000, **changes)

        def call(number: int, workspace: str = workspace, charge: Any = charge) -> int:
            ask = {"meter": "chat_generation", "llm_model": None}
            return client(flarex, workspace, number, charge, COST * 1_000, **ask)

        charged = storm(call, charge)

        assert charged == [COST] * (UNITS // COST)
        assert flarex.get("/v1/billing/overage", workspace)["accrued_units"] == UNITS
        refusal = charge().json()
        assert (refusal["code"], refusal["left_micros"]) == ("budget_exhausted", 0)
