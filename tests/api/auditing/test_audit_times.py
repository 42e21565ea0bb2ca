"""Events by time are all found, wherever the audit trail says that they lie, and however far it
has come."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.spending import to
from tests.api.auditing.sealed import chain, tamper
from tests.api.conftest import Served
from tests.projections.stories import rows

DAYS = [f"2026-06-{day:02}T00:00:00Z" for day in range(1, 8)]
AT = "(convert_from(state, 'UTF8')::jsonb ->> 'at')::timestamptz"
LATE = """
    UPDATE events SET state = convert_to(regexp_replace(convert_from(state, 'UTF8'),
        '"at":"[^"]*"', '"at":"2026-06-05T12:00:00Z"'), 'UTF8') WHERE notification_id = {0};
"""
LATE_TOO = "UPDATE audit_trail SET recorded_at = '2026-06-05T12:00:00Z' WHERE position = {0}"


@pytest.mark.parametrize("chained", ["nothing", "a part", "everything"])
def test_every_event_of_a_span_is_found(app: Served, chained: str) -> None:
    workspace = app.workspace("20.00")
    odd = None
    for number, day in enumerate(DAYS[1:6]):
        to(app, day)
        for _ in range(3):
            odd = odd or int(app.charge(workspace).headers["x-ledger-position"])
        if chained == "a part" and number == 2:
            chain(app.database)
    # As if the clock of another machine had been ahead of its neighbours.
    tamper(app.database, LATE.format(odd), *([LATE_TOO.format(odd)] if chained == "a part" else []))
    if chained == "everything":
        chain(app.database)

    def found(**query: Any) -> list[int]:
        positions: list[int] = []
        more: dict[str, Any] = {}
        while True:
            page = app.get("/v1/audit/events", limit=4, **query, **more)
            positions += [one["position"] for one in page["data"]]
            if not page["has_more"]:
                return positions
            more = {"cursor": page["next_cursor"]}

    times = rows(app.database, f"SELECT notification_id, {AT} FROM events ORDER BY 1")
    spans = [(since, until) for since in (None, *DAYS) for until in (None, *DAYS)]
    for since, until in spans:
        query = {name: at for name, at in (("from", since), ("to", until)) if at}
        expected = [
            position
            for position, at in times
            if (since is None or f"{at:%Y-%m-%dT%H:%M:%SZ}" >= since)
            and (until is None or f"{at:%Y-%m-%dT%H:%M:%SZ}" < until)
        ]
        assert found(**query) == expected, query
    assert odd in found(**{"from": "2026-06-05T12:00:00Z", "to": "2026-06-05T13:00:00Z"})
