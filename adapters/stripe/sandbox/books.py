"""What the sandbox knows: Stripe's objects as JSON in one SQLite file."""

from __future__ import annotations

import re
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from adapters.stripe.sandbox.errors import StripeError, missing

API_VERSION = "2026-10-28.endive"
_ALPHABET = string.ascii_letters + string.digits
_NAME = re.compile(r"[a-z0-9_.]+")
_encode = msgspec.json.encode
_decode = msgspec.json.decode

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY, object TEXT NOT NULL, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_object ON objects (object, seq);
"""

Json = dict[str, Any]


class Books:
    """Every object of a sandbox, and its clock. What was committed survives kill -9.

    Objects are plain dicts in Stripe's shape and are copies: change one, then `put` it back.
    An id is unique among all objects. Names with a dot in `find` are written with two
    underscores: ``find("invoice", metadata__cycle="c1")``.
    """

    def __init__(self, file: str = ":memory:") -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._indexed: set[str] = set()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing by this; only a power cut would.
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(SCHEMA)
        self.url = ""
        """Where the server is reached, without a slash at the end: hosted pages hang below it."""
        self.request: Json = {"id": None, "idempotency_key": None}
        """The API request at work, as an event names it."""
        self.writes = 0
        """Counts what was put or removed: whoever remembers an answer can see that it is old."""
        self._instant: int | None = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # Transactions: everything that one request does is one of them.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Within another one it is a part of that one, and may fail alone."""
        with self._lock:
            point = f"p{self._depth}"
            self._db.execute(f"SAVEPOINT {point}" if self._depth else "BEGIN IMMEDIATE")
            self._depth += 1
            failed = True
            try:
                yield
                failed = False
            except StripeError as refusal:
                failed = not refusal.kept
                raise
            finally:
                self._depth -= 1
                if failed:
                    self._indexed.clear()
                    self.writes += 1
                if self._depth:
                    undo = f"ROLLBACK TO {point}; " if failed else ""
                    for statement in f"{undo}RELEASE {point}".split("; "):
                        self._db.execute(statement)
                else:
                    self._db.execute("ROLLBACK" if failed else "COMMIT")

    # Time

    def now(self) -> int:
        """The sandbox's time in unix seconds. It never goes back once there is a customer."""
        if self._instant is not None:
            return self._instant
        clock = self.look("sandbox.clock", "clock")
        if clock is None:
            return int(time.time())
        frozen: int | None = clock["frozen"]
        return int(time.time()) + int(clock["offset"]) if frozen is None else frozen

    def freeze(self, instant: int | None) -> None:
        """Stop the clock at `instant`, or let it go on from where it stands (None).

        It is only the clock that moves; clock.py does what is due. ValueError if it would go back
        although there are customers.
        """
        now = self.now()
        stands = now if instant is None else instant
        if stands < now:
            if self.has_customers():
                raise ValueError("the sandbox's clock moves forward only")
            for delivery in self.find("sandbox.delivery", state="pending"):
                self.put(delivery | {"due": stands})
        offset = stands - int(time.time())
        self.put({"object": "sandbox.clock", "id": "clock", "frozen": instant, "offset": offset})

    def has_customers(self) -> bool:
        """Whether time has begun to matter: before, the clock may be set to any instant."""
        with self._lock:
            found = "SELECT EXISTS (SELECT 1 FROM objects WHERE object = 'customer')"
            return bool(self._db.execute(found).fetchone()[0])

    @contextmanager
    def at(self, instant: int) -> Iterator[None]:
        """Within this, it is `instant`."""
        before, self._instant = self._instant, instant
        try:
            yield
        finally:
            self._instant = before

    # Objects

    def new_id(self, prefix: str) -> str:
        """An id that nobody has: ``new_id("cus")`` is like "cus_Q7dT..."."""
        return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(24))}"

    def put(self, obj: Json) -> Json:
        """Write an object under its `object` and `id`, new or in place of the former one."""
        self.writes += 1
        with self._lock:
            self._db.execute(
                "INSERT INTO objects (object, id, body) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET object = excluded.object, body = excluded.body",
                (obj["object"], obj["id"], _encode(obj).decode()),
            )
        return obj

    def remove(self, object_id: str) -> None:
        """Forget an object."""
        self.writes += 1
        with self._lock:
            self._db.execute("DELETE FROM objects WHERE id = ?", (object_id,))

    def look(self, object_name: str | None, object_id: str) -> Json | None:
        """The object, or None; of any kind if no name is given."""
        with self._lock:
            row = self._db.execute(
                "SELECT body FROM objects WHERE id = ? AND object = coalesce(?, object)",
                (object_id, object_name),
            ).fetchone()
        return None if row is None else _decode(row[0])

    def get(self, object_name: str, object_id: str, param: str = "id") -> Json:
        """The object; a StripeError 404 resource_missing (naming `param`) if there is none."""
        found = self.look(object_name, object_id)
        if found is None:
            raise missing(object_name, object_id, param)
        return found

    def find(self, object_name: str, **equal: Any) -> list[Json]:
        """The objects whose fields have these values, newest first."""
        return self._bodies(object_name, equal, "ORDER BY seq DESC")

    def since(self, object_name: str, field: str, instant: int, **equal: Any) -> list[Json]:
        """As `find`, of objects whose `field` is a time at or after `instant`."""
        rest = f"AND {self._field(field)} >= ? ORDER BY seq DESC"
        return self._bodies(object_name, equal, rest, instant)

    def until(self, object_name: str, field: str, instant: int, **equal: Any) -> list[Json]:
        """Objects whose `field` is a time at or before `instant`, earliest first."""
        rest = f"AND {self._field(field)} <= ? ORDER BY {self._field(field)}, seq"
        return self._bodies(object_name, equal, rest, instant)

    def earliest(self, object_name: str, field: str, **equal: Any) -> int | None:
        """The smallest number in a field of such objects: when the next of them is due."""
        smallest_of = f"SELECT min({self._field(field)}) FROM objects"  # noqa: S608 - see _all
        ((smallest,),) = self._all(smallest_of, object_name, equal)
        found: int | None = smallest
        return found

    def forget(self, object_name: str, field: str, instant: int, **equal: Any) -> None:
        """Remove objects whose `field` is a time at or before `instant`."""
        self.writes += 1
        self._all(
            "DELETE FROM objects", object_name, equal, f"AND {self._field(field)} <= ?", instant
        )

    def clear(self) -> None:
        """Forget everything but where hooks go."""
        self.writes += 1
        with self._lock:
            self._db.execute("DELETE FROM objects WHERE object <> 'sandbox.endpoint'")

    def _bodies(self, object_name: str, equal: Json, rest: str, *values: Any) -> list[Json]:
        rows = self._all("SELECT body FROM objects", object_name, equal, rest, *values)
        return [_decode(body) for (body,) in rows]

    def _all(
        self, verb: str, object_name: str, equal: Json, rest: str = "", *values: Any
    ) -> list[Any]:
        # Names of fields are a part of the statement: `_field` lets only names pass.
        tests = ["object = ?", *(f"{self._field(name)} IS ?" for name in equal)]
        statement = f"{verb} WHERE {' AND '.join(tests)} {rest}"
        with self._lock:
            return self._db.execute(statement, [object_name, *equal.values(), *values]).fetchall()

    def _field(self, name: str) -> str:
        """A field as SQL, with an index from its first use on."""
        path = name.replace("__", ".")
        if not _NAME.fullmatch(path):
            raise ValueError(f"{name!r} is no field")
        expression = f"json_extract(body, '$.{path}')"
        with self._lock:
            if path not in self._indexed:
                self._db.execute(
                    f'CREATE INDEX IF NOT EXISTS "by {path}" ON objects (object, {expression})'
                )
                self._indexed.add(path)
        return expression

    # Events

    def emit(self, event_type: str, obj: Json, previous: Json | None = None) -> Json:
        """Record that something happened to `obj`, and queue its webhook.

        `previous` are the former values of what changed, for "….updated".
        """
        data: Json = {"object": obj}
        if previous is not None:
            data["previous_attributes"] = previous
        endpoint = self.look("sandbox.endpoint", "endpoint")
        event = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0 if endpoint is None else 1,
            "request": self.request,
            "type": event_type,
        }
        self.put(event)
        if endpoint is not None:
            self.queue(event)
        return event

    def queue(self, event: Json) -> Json:
        """Let an event be delivered; the delivery."""
        return self.put(
            {
                "object": "sandbox.delivery",
                "id": f"delivery_{event['id']}",
                "event": event["id"],
                "type": event["type"],
                "state": "pending",
                "made": event["created"],
                "due": self.now(),
                "attempts": [],
            }
        )
