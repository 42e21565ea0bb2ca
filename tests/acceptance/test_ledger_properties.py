"""L0, L1 and L8 against the running API: whatever services, customers and administrators ask."""

from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from adapters.postgres.database import Database
from tests.api.conftest import Served, serve, settings_of

cents = st.integers(1, 3_000).map(lambda number: f"{number // 100}.{number % 100:02d}")
numbers = count(1)


@pytest.fixture
def served(database: Database) -> Iterator[Served]:
    """One deployment for all histories; each has a workspace of its own."""
    with serve(settings_of(database), folding=False) as app:
        yield app


class Asked(RuleBasedStateMachine):
    """Histories of one workspace, as seen from outside."""

    app: ClassVar[Served]

    def __init__(self) -> None:
        super().__init__()
        self.workspace = self.app.workspace()
        self.payments: list[str] = []
        self.acts: list[str] = []

    def admin(self, what: str, body: dict[str, Any]) -> int:
        path = f"/v1/admin/workspaces/{self.workspace}/{what}"
        return self.app.post(path, body | {"ticket_ref": "T-1"}).status_code

    @rule(amount=cents, priority=st.integers(0, 100))
    def promise(self, amount: str, priority: int) -> None:
        body = {"amount_usd": amount, "category": "promotional", "priority": priority}
        assert self.admin("credits", body) == 201

    @rule(amount=st.integers(1, 30))
    def pay(self, amount: int) -> None:
        body = {"amount_usd": amount, "payment_ref": f"wire-{next(numbers)}"}
        paid = self.app.post("/v1/billing/topup", body, self.workspace)
        assert paid.status_code == 200
        self.payments.append(paid.json()["payment_attempt_id"])

    @rule(tokens=st.integers(1, 2_000_000), mode=st.sampled_from(["strict", "record"]))
    def use(self, tokens: int, mode: str) -> None:
        done = self.app.charge(self.workspace, tokens={"output": tokens}, mode=mode)
        assert done.status_code in (201, 402)
        if done.status_code == 201:
            self.acts.append(done.json()["usage_id"])

    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        if self.acts:
            act = data.draw(st.sampled_from(self.acts))
            done = self.app.post(f"/v1/usage/{act}/void", {}, self.workspace)
            assert done.status_code in (200, 409)

    @rule(data=st.data(), amount=cents)
    def refund(self, data: st.DataObject, amount: str) -> None:
        if self.payments:
            payment = data.draw(st.sampled_from(self.payments))
            body = {"payment_attempt_id": payment, "amount_usd": amount}
            assert self.admin("refunds", body) in (201, 409)

    @rule(amount=cents, down=st.booleans())
    def adjust(self, amount: str, down: bool) -> None:
        body = {"amount_usd": f"-{amount}" if down else amount, "reason": "a mistake"}
        assert self.admin("adjustments", body) == 201

    @rule(what=st.sampled_from(["freeze", "unfreeze"]))
    def freeze(self, what: str) -> None:
        assert self.admin(what, {"reason": "admin"}) == 200

    @invariant()
    def the_books_agree(self) -> None:
        stream = f"credit_account/{self.workspace}"
        events = self.app.get("/v1/audit/events", stream=stream, limit=1_000)["data"]
        running, credited, reversed_ = 0, dict[str, int](), dict[str, int]()
        for event in events:
            fact = event["data"]
            if event["amount_micros"] is not None:
                running += event["amount_micros"]
                assert event["balance_after_micros"] == running  # L1
            payment = fact.get("payment_attempt_id")
            if payment and event["type"] == "Credited":
                credited[payment] = fact["amount"]
            if payment and event["type"] == "CreditsReversed":
                reversed_[payment] = reversed_.get(payment, 0) + fact["amount"]
        for payment, taken in reversed_.items():
            assert taken <= credited[payment]  # L8
        balance = self.app.get(
            "/v1/billing/balance", self.workspace, consistency="strong", include="grants"
        )
        remaining = [grant["remaining_micros"] for grant in balance["grants"]]
        assert balance["balance_micros"] == running
        assert balance["balance_micros"] == sum(remaining) - balance["debt_micros"]  # L0
        assert all(left > 0 for left in remaining)
        assert not (remaining and balance["debt_micros"])


def test_whatever_is_asked_over_http_the_books_agree(served: Served) -> None:
    run_state_machine_as_test(
        type("AskedHere", (Asked,), {"app": served}),
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
