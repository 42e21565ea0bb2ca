"""S98: after 10,000 random commands the read models agree with the events, and replay with what
was answered at the time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from adapters.postgres.database import Database
from domain.errors import Refusal
from domain.facts import Context
from domain.identity import parse_usage_id
from domain.ledger import Ledger
from projections.compare import compare
from projections.replay import replay
from projections.runner import Runner
from tests.adapters.postgres.writing import writing
from tests.domain.given import NOW, chat, open_ledger

COMMANDS = 10_000
AT_ONCE = 50
EVERY = 500
TENANTS = tuple(f"ws_{number}" for number in range(20))
MODELS = ("gpt-5.4", "gpt-5.4-mini", "gpt-4o-mini", "a-model-without-a-price")


@pytest.mark.scenario("S98")
def test_replay_and_read_models_agree_with_10_000_random_commands(database: Database) -> None:
    outcomes = asyncio.run(_work(database))
    assert outcomes["done"] > COMMANDS // 2
    assert outcomes["refused"] > 0
    Runner(database.conninfo()).run_until_caught_up()

    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        assert compare(connection) == []
        moves = connection.execute(
            "SELECT position, stream, balance_after FROM event_log"
            " WHERE balance_after IS NOT NULL ORDER BY position"
        ).fetchall()
        owners: dict[object, str] = dict(
            connection.execute(
                "SELECT stream, data->>'workspace_id' FROM event_log"
                " WHERE kind = 'CreditAccountOpened'"
            ).fetchall()
        )
        assert len(moves) > COMMANDS // 2
        for position, stream, balance_after in moves[::EVERY] + moves[-1:]:
            state = replay(connection, owners[stream], position=position)
            assert (state.position, state.balance) == (position, balance_after)


async def _work(database: Database) -> dict[str, int]:
    draw = random.Random("S98")
    done, refused = 0, 0
    async with writing(database) as writer:
        ledger = await open_ledger(writer, *TENANTS, markup_bps=500)
        acts: list[tuple[str, str]] = []
        for first in range(0, COMMANDS, AT_ONCE):
            asks = [_ask(ledger, draw, first + n, acts) for n in range(AT_ONCE)]
            for end in await asyncio.gather(*(ask() for ask in asks), return_exceptions=True):
                if isinstance(end, Refusal):
                    refused += 1
                elif isinstance(end, BaseException):
                    raise end
                else:
                    done += 1
    return {"done": done, "refused": refused}


def _ask(
    ledger: Ledger, draw: random.Random, number: int, acts: list[tuple[str, str]]
) -> Callable[[], Awaitable[Any]]:
    """One random command; charges add to `acts`, and voids choose from them."""
    tenant = draw.choice(TENANTS)
    context = Context(NOW + timedelta(seconds=number), "service:random")
    amount = draw.randrange(1, 300_000)
    kind = draw.choices(
        ("charge", "pay", "promo", "void", "adjust", "freeze", "unfreeze", "expire"),
        (80, 6, 5, 4, 2, 1, 1, 1),
    )[0]
    match kind:
        case "charge":
            usage = chat(
                # Now and then the same act again, or another one under its name.
                f"act-{number if draw.random() < 0.97 else draw.randrange(number + 1)}",
                draw.choice(MODELS),
                input=draw.randrange(20_000),
                output=draw.randrange(2_000),
                mode=draw.choice(("strict", "record")),
            )

            async def charge() -> Any:
                charged = await ledger.charge(tenant, usage, context)
                if charged.usage_id:
                    assert parse_usage_id(charged.usage_id)
                    acts.append((tenant, charged.usage_id))

            return charge
        case "pay":
            return lambda: ledger.record_payment(tenant, amount * 10, f"ref-{number}", context)
        case "promo":
            ends = context.now + timedelta(seconds=draw.randrange(1, 2_000))
            return lambda: ledger.grant(
                tenant, amount, f"promo-{number}", context, priority=10, expires_at=ends
            )
        case "void":
            owner, act = draw.choice(acts) if acts else (tenant, "use_none")
            return lambda: ledger.void(owner, act, context, reason="random")
        case "adjust":
            signed = amount * draw.choice((1, -1))
            return lambda: ledger.adjust(tenant, signed, f"a-{number}", "random", "T-1", context)
        case "freeze":
            return lambda: ledger.freeze(tenant, "admin", f"f-{number}", None, context)
        case "unfreeze":
            return lambda: ledger.unfreeze(tenant, None, f"u-{number}", None, context)
        case _:
            return lambda: ledger.expire_credits(tenant, context)
