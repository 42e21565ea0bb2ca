"""Stripe to ask: the sandbox always; Stripe itself where STRIPE_TEST_KEY is set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import stripe

from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.server import serving

NOW = 1_780_272_000  # 2026-06-01T00:00:00Z


@pytest.fixture
def sandbox() -> Iterator[Remote]:
    """A sandbox of this test's own, held to the contract, whose webhooks wait to be delivered."""
    with serving(mode="held", now=NOW) as remote:
        yield remote


@pytest.fixture
def client(sandbox: Remote) -> stripe.StripeClient:
    """Stripe's own client, asking that sandbox once only."""
    return stripe.StripeClient(
        "sk_test_core", base_addresses={"api": sandbox.url}, max_network_retries=0
    )


@pytest.fixture(params=["sandbox", "stripe"])
def either(request: pytest.FixtureRequest) -> stripe.StripeClient:
    """Each in turn: what is asked of it, and what it must answer, is the same."""
    if request.param == "sandbox":
        found: stripe.StripeClient = request.getfixturevalue("client")
        return found
    key = os.environ.get("STRIPE_TEST_KEY")
    if not key:
        pytest.skip("STRIPE_TEST_KEY is not set: Stripe itself is not asked")
    if not key.startswith("sk_test_"):
        pytest.fail("STRIPE_TEST_KEY is not a key of Stripe's test mode")
    return stripe.StripeClient(key, max_network_retries=2)
