"""One API request: who asks, what is asked, done in one transaction, answered once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from adapters.stripe import contract
from adapters.stripe.contract import Unacceptable
from adapters.stripe.sandbox.books import API_VERSION
from adapters.stripe.sandbox.clock import Clockwork
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.expansion import expand
from adapters.stripe.sandbox.forms import decode
from adapters.stripe.sandbox.idempotency import Answers, fingerprint
from adapters.stripe.sandbox.route import ROUTES, Books, Call, Json

LOGGED_MAX = 20_000
Reply = tuple[int, Json, dict[str, str]]
"""Status, body, further headers."""


@dataclass(frozen=True)
class Asked:
    """A request: the operation by method and `template`, the rest as it came."""

    method: str
    template: str
    path: dict[str, str]
    url: str
    form: str
    key: str | None
    number: str


class Desk:
    """Answers requests of the API. Every one is written down."""

    def __init__(self, books: Books, *, strict: bool = False, key: str | None = None) -> None:
        """`strict` holds every answer to the contract; `key` is the only one that is accepted."""
        self.books = books
        self.clockwork = Clockwork(books)
        self.answers = Answers(books)
        self.log: deque[Json] = deque(maxlen=LOGGED_MAX)
        self.broken: list[str] = []
        """What the sandbox answered against the contract: nothing, if it is right."""
        self._strict = strict
        self._key = key

    def admit(self, key: str, version: str | None) -> None:
        """Demand a secret test key, and the version of the API that the sandbox speaks."""
        if not key:
            raise StripeError(401, "invalid_request_error", "You did not provide an API key.")
        if not key.startswith("sk_test_") or self._key not in (None, key):
            text = f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:]}"
            raise StripeError(401, "invalid_request_error", text)
        if version not in (None, API_VERSION):
            text = f"The sandbox speaks the version {API_VERSION}, and not {version}."
            raise StripeError(400, "invalid_request_error", text)

    def answer(self, asked: Asked) -> Reply:
        """Do what is asked, or answer again what was answered under this key.

        StripeError for what is refused before it is begun; later refusals are answers.
        """
        key, shape = asked.key, fingerprint(asked.method, asked.url, asked.form.encode())
        self.clockwork.catch_up()
        if key is not None and (former := self.answers.former(key, shape)) is not None:
            headers = {"Idempotent-Replayed": "true", "Original-Request": former["request"]}
            return former["status"], former["body"], headers
        params = _read(asked)
        status, body = 200, {}
        self.books.request = {"id": asked.number, "idempotency_key": key}
        try:
            with self.books.transaction():
                body = self._answered(asked, params)
                if key is not None:
                    self.answers.keep(key, shape, status, body, asked.number)
        except StripeError as refused:
            status, body = refused.status, self._refused(refused)
            if key is not None:
                with self.books.transaction():
                    self.answers.keep(key, shape, status, body, asked.number)
        finally:
            self.books.request = {"id": None, "idempotency_key": None}
        return status, body, {}

    def note(self, asked: Asked, fault: str | None) -> Json:
        """Write a request down; its status is added when there is one."""
        try:
            params = decode(asked.form)
        except StripeError:
            params = {}
        entry: Json = {
            "method": asked.method,
            "path": asked.url,
            "params": params,
            "idempotency_key": asked.key,
            "request": asked.number,
            "fault": fault,
            "status": None,
        }
        self.log.append(entry)
        return entry

    def hold_events(self) -> None:
        """Hold every event so far to the contract."""
        for event in self.books.find("event"):
            self.broken += contract.response_faults(event)

    def _answered(self, asked: Asked, params: Json) -> Json:
        call = Call(self.books, asked.path, params, asked.key)
        answer = ROUTES[asked.method, asked.template](call)
        schema = contract.answer_schema(asked.method, asked.template)
        answer = expand(self.books, answer, params.get("expand", []), schema)
        if self._strict:
            faults = contract.answer_faults(asked.method, asked.template, answer)
            self._hold(faults, f"{asked.method} {asked.url}")
        return answer

    def _refused(self, refused: StripeError) -> Json:
        for name in ("payment_intent", "setup_intent", "payment_method"):
            if self._strict and isinstance(carried := refused.error.get(name), dict):
                self._hold(contract.response_faults(carried), name)
        return refused.body()

    def _hold(self, faults: list[str], what: str) -> None:
        self.broken += [f"{what}: {fault}" for fault in faults]
        if faults:
            raise contract.ContractBroken(f"{what}: {'; '.join(faults)}")


def _read(asked: Asked) -> Json:
    try:
        return contract.read_request(asked.method, asked.template, decode(asked.form))
    except Unacceptable as wrong:
        raise invalid(str(wrong), wrong.param, wrong.code) from wrong
