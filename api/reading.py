"""Query parameters and pages, the same for every list and every read model."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec
from msgspec import Meta
from starlette.requests import Request

from domain.errors import InvalidInput

POSITION = re.compile(r"[0-9]{1,18}")
CURSOR = re.compile(r"[A-Za-z0-9_-]{1,64}")
Instant = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with an offset, as in bodies: Python's own reader takes weeks and other forms too."""
LIMIT = 20
LIMIT_MAX = 100


def number_of(request: Request, name: str, default: int | None = None) -> int | None:
    """A whole number of the query, not negative.

    :raises InvalidInput: it is none.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if POSITION.fullmatch(text) is None:
        raise InvalidInput(("query", name), "must be a whole number, 0 or more")
    return int(text)


def limit_of(request: Request, default: int = LIMIT, most: int = LIMIT_MAX) -> int:
    """How long a page may be."""
    limit = number_of(request, "limit", default)
    if limit is None or not 1 <= limit <= most:
        raise InvalidInput(("query", "limit"), f"must be 1 to {most}")
    return limit


def cursor_of(position: int) -> str:
    """An opaque name for "after this position"."""
    return urlsafe_b64encode(f"p{position}".encode()).decode().rstrip("=")


def position_of_cursor(request: Request) -> int:
    """Where the page begins: after this position; 0 without a cursor.

    :raises InvalidInput: the cursor is none of ours.
    """
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return 0
    wrong = InvalidInput(("query", "cursor"), "is no cursor: take next_cursor of the page before")
    if CURSOR.fullmatch(cursor) is None:
        raise wrong
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        raise wrong from None
    if text[:1] != "p" or POSITION.fullmatch(text[1:]) is None:
        raise wrong
    return int(text[1:])


def instant_of(request: Request, name: str) -> datetime | None:
    """A moment of the query, UTC.

    :raises InvalidInput: not RFC 3339 with an offset.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        # A plus sign that was not encoded arrives as a space.
        spaced = text.replace(" ", "+") if "T" in text else text
        return msgspec.convert(spaced, Instant).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise InvalidInput(
            ("query", name), "must be a time with an offset, such as 2026-06-01T12:00:00Z"
        ) from None


def zone_of(request: Request) -> ZoneInfo:
    """The time zone in which the query's dates are meant; UTC by default.

    :raises InvalidInput: IANA knows no such zone.
    """
    name = request.query_params.get("timezone", "UTC")
    try:
        if name not in zone_names():
            raise ValueError
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise InvalidInput(
            ("query", "timezone"), "is no IANA time zone, such as Europe/Berlin"
        ) from None


@cache
def zone_names() -> frozenset[str]:
    """What IANA calls its zones: none that this machine alone has, and none with leap seconds."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def days_of(request: Request, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """[start, end) in UTC of the query's dates, both of which are inclusive.

    `start_date` and `end_date`, or their aliases `from_date` and `to_date`.

    :raises InvalidInput: no ISO date, or the end before the start.
    """
    start = _date_of(request, "start_date", "from_date")
    end = _date_of(request, "end_date", "to_date")
    if start is not None and end is not None and end[1] < start[1]:
        raise InvalidInput(("query", end[0]), "must not be before the start")
    try:
        first = None if start is None else _midnight(start[1], zone)
        last = None if end is None else _midnight(end[1] + timedelta(days=1), zone)
    except OverflowError:
        raise InvalidInput(("query",), "dates must be within the years 1 to 9999") from None
    return first, last


def dates_of(request: Request) -> tuple[date | None, date | None]:
    """The query's dates as they are, both inclusive; see `days_of`."""
    start = _date_of(request, "start_date", "from_date")
    end = _date_of(request, "end_date", "to_date")
    return start and start[1], end and end[1]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _date_of(request: Request, *names: str) -> tuple[str, date] | None:
    given = [name for name in names if name in request.query_params]
    if len({request.query_params[name] for name in given}) > 1:
        raise InvalidInput(("query", given[1]), f"says something else than {given[0]}")
    for name in given:
        text = request.query_params[name]
        try:
            return name, msgspec.convert(text, date)
        except msgspec.ValidationError:
            raise InvalidInput(("query", name), "must be a date, such as 2026-06-30") from None
    return None
