"""Which of Stripe's events concern us, and who takes them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from api.stripe.follower import REACTIONS, Reaction
from api.stripe.till import Handler
from domain.facts import Fact

# Imported when they are asked for: they stand on the house, which stands on this.
BOOKS = (("api.stripe.money_events", "MONEY"), ("api.stripe.contract_events", "CONTRACT"))

REACTIONS_IN = (
    "api.stripe.money_reactions",
    "api.stripe.contract_reactions",
    "api.contract.accepting",
)
"""Modules that register what our own facts ask of the outside; imported when it is asked for."""


def all_reactions() -> Mapping[type[Fact], Sequence[Reaction]]:
    """By type of fact."""
    for module in REACTIONS_IN:
        import_module(module)
    return REACTIONS


def all_handlers() -> Mapping[str, Sequence[Handler]]:
    """By type of event; where money and contract are both concerned, money comes first."""
    found: dict[str, list[Handler]] = {}
    for module, name in BOOKS:
        for type, handler in getattr(import_module(module), name).items():
            found.setdefault(type, []).append(handler)
    return found
