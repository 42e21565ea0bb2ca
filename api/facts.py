"""Facts as the API tells them: every field by its full name, and what follows from the fields."""

from __future__ import annotations

from typing import Any

import msgspec

from domain.account.usage_facts import Debited, UsageRated, UsageRecorded, UsageVoided
from domain.catalogue.price_book import Rated
from domain.facts import Fact

METADATA = frozenset({"recorded_at", "cause", "actor", "correlation_id"})
AS_STORED = frozenset({"price", "total", "grant", "shares", "other_draws"})
OF_THE_ACT = ("late", "units", "cycle_id")


def told(fact: Fact) -> dict[str, Any]:
    """A fact's own fields (the metadata stands beside it). A metered act tells its draws, what
    it was rated at, and with its usage whether it was late, its units and its cycle."""
    fields = {
        name: msgspec.to_builtins(getattr(fact, name))
        for name in type(fact).__struct_fields__
        if name not in METADATA
    }
    if not isinstance(fact, Debited | UsageRecorded | UsageRated | UsageVoided):
        return fields
    for name in AS_STORED & fields.keys():
        del fields[name]
    if isinstance(fact, Debited):
        fields["grants"] = fact.grants
    fields["draws"] = [whole(draw) for draw in fact.draws]
    fields["rated"] = _rated(fact.rated)
    if fact.usage is not None:
        of_the_act = {name: fields.pop(name) for name in OF_THE_ACT if name in fields}
        fields["usage"] = whole(fact.usage) | of_the_act
    return fields


def whole(value: msgspec.Struct) -> dict[str, Any]:
    """A struct with all its fields, the defaults too."""
    return {
        name: whole(part) if isinstance(part, msgspec.Struct) else msgspec.to_builtins(part)
        for name in type(value).__struct_fields__
        for part in (getattr(value, name),)
    }


def _rated(rated: Rated | None) -> dict[str, Any] | None:
    if rated is None:
        return None
    p_in, p_cached, p_out, markup_bps = rated.price
    return {
        "provider_cost": rated.provider_cost,
        "markup": rated.markup,
        "total": rated.total,
        "price_book_version": rated.book,
        "price": {"input": p_in, "cached_input": p_cached, "output": p_out},
        "markup_bps": markup_bps,
    }
