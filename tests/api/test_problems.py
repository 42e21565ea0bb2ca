"""Every refusal has a status, and every 402 says what would help."""

from __future__ import annotations

import api.refusals  # noqa: F401 - its refusals are subclasses too
from api.problems import problem, status_of
from domain.errors import InsufficientCredits, QuotaExceeded, Refusal


def kinds(base: type[Refusal] = Refusal) -> list[type[Refusal]]:
    return [kind for sub in base.__subclasses__() for kind in (sub, *kinds(sub))]


def test_every_refusal_has_a_status_and_a_code_of_its_own() -> None:
    found = kinds()

    assert len(found) > 25
    for kind in found:
        assert 400 <= status_of(kind) < 600
        assert kind.code != Refusal.code, kind


def test_every_402_carries_the_fields_that_say_what_would_help() -> None:
    made = problem(InsufficientCredits(plan="free", needs_credits=True), "/v1/usage")

    assert made.status == 402
    assert made.members == {
        "type": "https://errors.example/insufficient_credits",
        "title": "Payment Required",
        "status": 402,
        "code": "insufficient_credits",
        "detail": "The credit balance is exhausted.",
        "instance": "/v1/usage",
        "needs_oauth": False,
        "needs_credits": True,
        "plan": "free",
        "is_frozen": False,
        "balance_usd": 0,
        "available_usd": 0,
        "resets_at": None,
        "overage_available": False,
        "checkout_url": None,
    }


def test_a_402_with_facts_of_its_own_shows_them_too() -> None:
    made = problem(QuotaExceeded(plan="free", tokens_remaining=1, tokens_requested=2), "/")

    assert (made.members["tokens_remaining"], made.members["tokens_requested"]) == (1, 2)
