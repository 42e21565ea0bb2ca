"""A deployment on a test clock and its sandbox of Stripe have one time, and tick as one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adapters.postgres.database import Database
from tests.api.sandboxed import START, sandboxed


def test_the_sandbox_begins_and_moves_with_our_clock(database: Database) -> None:
    with sandboxed(database) as both:
        assert both.sandbox.control.now() == START
        both.app.workspace()

        both.to("2026-07-01T12:00:00Z")

        moved = datetime(2026, 7, 1, 12, tzinfo=UTC)
        assert both.sandbox.control.now() == int(moved.timestamp())


@pytest.mark.parametrize("mode", ["auto", "held"])
def test_a_tick_delivers_what_waits_unless_it_is_held(database: Database, mode: str) -> None:
    with sandboxed(database, mode=mode) as both:
        url = f"{both.sandbox.url}/v1/customers"
        import httpx

        made = httpx.post(url, auth=("sk_test_of_tests", ""), data={"name": "Acme"})
        assert made.status_code == 200, made.text

        both.tick()

        kept = both.app.get("/v1/admin/webhooks")["data"]
        assert [one["type"] for one in kept] == ["customer.created"] * (mode == "auto")
        states = [one["state"] for one in both.sandbox.control.get("/webhooks")]
        assert states == ["delivered" if mode == "auto" else "pending"]
        assert both.tick()["done"] == 0
