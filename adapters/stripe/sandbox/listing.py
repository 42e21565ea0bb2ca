"""Lists and searches: a page of objects, as Stripe cuts them."""

from __future__ import annotations

import re
from typing import Any

from adapters.stripe.sandbox.errors import invalid, missing
from adapters.stripe.sandbox.route import Call, Json

LIMIT = 10
LIMIT_MAX = 100
_CLAUSE = re.compile(
    r"""\s*(-?)([a-z_.]+)(?:\[["']([^"']+)["']\])?\s*(:|>=|<=|>|<|~)\s*(?:"([^"]*)"|'([^']*)'|(\S+))"""
)


def listing(url: str, objects: list[Json], *, has_more: bool = False) -> Json:
    """A list as an object has it within."""
    return {"object": "list", "data": objects, "has_more": has_more, "url": url}


def listed(call: Call, url: str, objects: list[Json]) -> Json:
    """The page of `objects` (newest first) that limit, starting_after, ending_before ask for.

    A `created` filter is applied too.
    """
    params = call.params
    objects = [obj for obj in objects if _within(params.get("created"), obj.get("created", 0))]
    limit = _limit(params)
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise invalid(
            "You cannot parameterize with both starting_after and ending_before.",
            "ending_before",
        )
    ids = [obj["id"] for obj in objects]
    if after is not None:
        start = _place(ids, after, "starting_after") + 1
        page = objects[start : start + limit]
        return listing(url, page, has_more=start + limit < len(objects))
    if before is not None:
        end = _place(ids, before, "ending_before")
        start = max(0, end - limit)
        return listing(url, objects[start:end], has_more=start > 0)
    return listing(url, objects[:limit], has_more=limit < len(objects))


def searched(call: Call, url: str, objects: list[Json]) -> Json:
    """The objects (newest first) that match `query`: clauses joined by AND, or by OR."""
    query: str = call.params["query"]
    joint = " OR " if re.search(r"\sOR\s", query) else " AND "
    clauses = [_clause(text) for text in re.split(joint.strip().join((r"\s", r"\s")), query)]
    every = all if joint == " AND " else any
    found = [obj for obj in objects if every(_matches(obj, clause) for clause in clauses)]
    start = int(call.params.get("page", "0"))
    limit = _limit(call.params)
    more = start + limit < len(found)
    return {
        "object": "search_result",
        "data": found[start : start + limit],
        "has_more": more,
        "next_page": str(start + limit) if more else None,
        "url": url,
    }


def _limit(params: Json) -> int:
    limit: int = params.get("limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        edge = "greater than or equal to 1" if limit < 1 else f"less than or equal to {LIMIT_MAX}"
        raise invalid(f"This value must be {edge}.", "limit", "parameter_invalid_integer")
    return limit


def _place(ids: list[str], cursor: str, param: str) -> int:
    if cursor not in ids:
        raise missing("object", cursor, param)
    return ids.index(cursor)


def _within(bounds: Any, created: int) -> bool:
    if bounds is None:
        return True
    if isinstance(bounds, int):
        return created == bounds
    tests = {"gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__}
    return all(tests[name](created, bound) for name, bound in bounds.items())


def _clause(text: str) -> tuple[bool, list[str], str, str]:
    match = _CLAUSE.fullmatch(text.strip())
    if match is None:
        raise invalid(f"We were unable to parse your search query: {text}", "query")
    minus, field, key, sign, *values = match.groups()
    value = next(each for each in values if each is not None)
    return bool(minus), [field, key] if key else field.split("."), sign, value


def _matches(obj: Json, clause: tuple[bool, list[str], str, str]) -> bool:
    negated, path, sign, wanted = clause
    value: Any = obj
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return _compares(value, sign, wanted) is not negated


def _compares(value: Any, sign: str, wanted: str) -> bool:
    if wanted == "null":
        return value is None
    if value is None:
        return False
    if sign == "~":
        return wanted in str(value)
    if sign == ":":
        return (
            str(value).lower() == wanted.lower()
            if isinstance(value, bool)
            else str(value) == wanted
        )
    number, bound = int(value), int(wanted)
    if sign in (">", "<"):
        return number > bound if sign == ">" else number < bound
    return number >= bound if sign == ">=" else number <= bound
