"""Whatever is asked of an account, in whatever order: its invariants L0, L1 and L8 (section 2.1).

The machine keeps the history that a database would keep, and after every step compares the
account with sums over that history, with a fold of it, and with a round trip through a snapshot.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited, CreditsReinstated, CreditsReversed
from domain.account.repaid import Debt
from domain.account.usage_facts import Debited, UsageRecorded, UsageVoided
from domain.account.wallet import burn_order
from domain.codec import decode_fact, encode_fact
from domain.errors import Refusal
from domain.facts import Recorded, project
from domain.identity import usage_id
from tests.domain.given import NOW, at, chat, faces, new_account, prices

amounts = st.integers(1, 5_000)
CATALOGUES = {policy: faces(overdraft=policy) for policy in ("record", "write_off")}
BOOK = prices(500)
SIGN = {"Debited": -1, "CreditsReversed": -1, "CreditsExpired": -1}


class AnyHistory(RuleBasedStateMachine):
    """Credits, charges, voids, reversals, adjustments, freezes and steps of the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.book: list[Recorded] = []
        self.causes = 0

    @initialize(overdraft=st.sampled_from(sorted(CATALOGUES)))
    def open(self, overdraft: str) -> None:
        self.catalogue = CATALOGUES[overdraft]
        self.account = CreditAccount(new_account().id)
        opened = new_account()
        self.account.workspace_id = opened.workspace_id
        self.account.currency = opened.currency
        self.account.policy = opened.policy
        self.account.buckets = opened.buckets
        self.start = self.account.clone()

    # What is asked.

    @rule(
        amount=amounts,
        paid=st.booleans(),
        priority=st.sampled_from([10, 50, 90]),
        days=st.sampled_from([None, 1, 2, 5]),
    )
    def credit(self, amount: int, paid: bool, priority: int, days: int | None) -> None:
        cause = self.cause("credit")
        self.attempt(
            "credit",
            amount,
            "card_topup" if paid else "promo",
            cause,
            category="paid" if paid else "promotional",
            priority=priority,
            expires_at=self.now + timedelta(days=days) if days else None,
            payment_attempt_id=cause if paid else None,
        )

    @rule(
        tokens=st.integers(0, 2_000),
        meter=st.sampled_from(["chat", "interview", "compile"]),
        mode=st.sampled_from(["strict", "record"]),
    )
    def charge(self, tokens: int, meter: str, mode: str) -> None:
        usage = chat(self.cause("u"), input=tokens, meter=meter, mode=mode)
        before = self.account.clone()

        recorded = self.attempt("charge", usage, self.catalogue, BOOK)

        for event in recorded:
            fact = event.fact
            if isinstance(fact, Debited | UsageRecorded):
                self.check_funding(fact)
        if not recorded:
            assert self.account == before, "a refusal left a trace"
        if before.is_frozen and mode == "strict":
            assert not recorded

    @precondition(lambda self: self.acts())
    @rule(data=st.data(), reinstate=st.booleans())
    def void(self, data: st.DataObject, reinstate: bool) -> None:
        act = data.draw(st.sampled_from(self.acts()))
        id = usage_id(act.originator_id, act.originator_version)
        credits = {f.fact.grant_id: f.fact for f in self.book if isinstance(f.fact, Credited)}
        fact = act.fact
        assert isinstance(fact, Debited | UsageRecorded) and fact.usage is not None
        when = fact.usage.occurred_at or fact.recorded_at
        debt = Debt(fact)
        for event in self.book[act.originator_version :]:
            debt.repay(event.fact)
        assert 0 <= debt.left <= self.account.wallet.debt, "what is not repaid is still owed"

        self.attempt("void", id, fact, when, credits, debt.by, None, None, reinstate)

    @precondition(lambda self: self.payments())
    @rule(data=st.data(), amount=amounts, kind=st.sampled_from(["refund", "chargeback"]))
    def reverse(
        self, data: st.DataObject, amount: int, kind: Literal["refund", "chargeback"]
    ) -> None:
        payment = data.draw(st.sampled_from(self.payments()))
        own = next((g for g in self.account.wallet.grants if g.grant_id == payment.grant_id), None)
        expired = own is not None and own.expires_at is not None and own.expires_at <= self.now

        for event in self.attempt("reverse", payment, amount, kind, self.cause("reversal")):
            if isinstance(event.fact, CreditsReversed) and own is not None and not expired:
                taken = event.fact.grants.get(payment.grant_id, 0)
                assert taken == min(own.remaining, amount), "its own grant pays first"

    @precondition(lambda self: any(self.account.reversed.values()))
    @rule(data=st.data())
    def reinstate(self, data: st.DataObject) -> None:
        """A dispute that was won."""
        owed = sorted((p, left) for p, left in self.account.reversed.items() if left > 0)
        payment, left = data.draw(st.sampled_from(owed))
        own = next(p.grant_id for p in self.payments() if p.payment_attempt_id == payment)
        cause = self.cause("reinstated")
        self.attempt("reinstate", payment, own, data.draw(st.integers(1, left)), cause, None)

    @rule(amount=st.integers(-5_000, 5_000))
    def adjust(self, amount: int) -> None:
        self.attempt("adjust", amount, "because", "t-1", self.cause("adjustment"))

    @rule(reason=st.sampled_from(["admin", "fraud", "chargeback"]))
    def freeze(self, reason: str) -> None:
        self.attempt("freeze", reason, "ref", None)
        assert self.account.is_frozen

    @rule(reason=st.sampled_from([None, "admin", "fraud"]))
    def unfreeze(self, reason: str | None) -> None:
        self.attempt("unfreeze", reason, "t-1", None)
        assert reason or not self.account.is_frozen

    @rule(hours=st.sampled_from([-1, 1, 24, 48]))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule()
    def sweep(self) -> None:
        self.attempt("expire_credits")
        assert self.account.wallet.expired(self.account.moment(at(self.now))) == []

    # What must hold.

    @invariant()
    def l0_the_balance_is_open_grants_less_debt(self) -> None:
        wallet = self.account.wallet
        assert wallet.balance == sum(g.remaining for g in wallet.grants) - wallet.debt
        assert all(g.remaining > 0 for g in wallet.grants)
        assert wallet.debt >= 0
        assert not (wallet.debt and wallet.grants), "debt and an open grant side by side"
        assert list(wallet.grants) == sorted(wallet.grants, key=burn_order)
        assert len({g.grant_id for g in wallet.grants}) == len(wallet.grants)
        assert wallet.next_expiry == min(
            (g.expires_at for g in wallet.grants if g.expires_at), default=None
        )

    @invariant()
    def l1_every_balance_after_is_the_running_sum(self) -> None:
        running = 0
        for event in self.book:
            move = event.fact.wallet_move()
            if move is None:
                continue
            running += SIGN.get(type(event.fact).__name__, 1) * event.fact.amount  # type: ignore[attr-defined]
            assert move == (move[0], running)
            assert abs(move[0]) == event.fact.amount  # type: ignore[attr-defined]
        assert self.account.balance == running

    @invariant()
    def l8_no_payment_is_reversed_beyond_what_it_brought(self) -> None:
        for payment in self.payments():
            reversed_ = sum(
                (1 if isinstance(f, CreditsReversed) else -1) * f.amount
                for f in (event.fact for event in self.book)
                if isinstance(f, CreditsReversed | CreditsReinstated)
                and f.payment_attempt_id == payment.payment_attempt_id
            )
            assert 0 <= reversed_ <= payment.amount
            known = self.account.reversed.get(payment.payment_attempt_id or "", 0)
            assert known == reversed_

    @invariant()
    def l9_buckets_are_never_overdrawn(self) -> None:
        for bucket in self.account.buckets.values():
            assert 0 <= bucket.used <= bucket.granted

    @invariant()
    def versions_rise_by_one_and_time_never_falls(self) -> None:
        assert [e.originator_version for e in self.book] == list(range(1, len(self.book) + 1))
        times = [e.fact.recorded_at for e in self.book]
        assert times == sorted(times)
        causes = [e.fact.unique_cause() for e in self.book]
        assert len(set(causes)) == len(causes)

    @invariant()
    def replay_agrees(self) -> None:
        stored = [
            Recorded(
                e.originator_id,
                e.originator_version,
                decode_fact(e.fact.TOPIC, encode_fact(e.fact)),
            )
            for e in self.book
        ]
        assert stored == self.book
        assert project(self.start.clone(), stored) == self.account

    @invariant()
    def a_snapshot_is_the_state(self) -> None:
        restored = msgspec.json.decode(self.account.snapshot(), type=CreditAccount)
        assert restored == self.account
        assert restored.wallet.balance == self.account.wallet.balance

    @invariant()
    def a_clone_goes_its_own_way(self) -> None:
        before, twin = self.account.state(), self.account.clone()
        twin.credit(1, "promo", "clone", at(self.now))
        twin.freeze("admin", "clone", None, at(self.now))
        twin.reverse(
            Credited(
                recorded_at=self.now,
                amount=1,
                source="promo",
                grant_id="g0",
                balance_after=1,
                payment_attempt_id="clone",
            ),
            1,
            "refund",
            "clone",
            at(self.now),
        )
        assert self.account.state() == before
        assert self.account.collect_events() == []

    # How the machine asks.

    def attempt(self, ask: str, *arguments: Any, **named: Any) -> list[Recorded]:
        """Ask; refusals are allowed, and leave nothing behind, as in the writer."""
        before = self.account.clone()
        recorded: list[Recorded] = []
        with suppress(Refusal):
            getattr(self.account, ask)(*arguments, context=at(self.now), **named)
            recorded = self.account.collect_events()
        if not recorded:
            self.account = before
        self.book += recorded
        return recorded

    def cause(self, kind: str) -> str:
        self.causes += 1
        return f"{kind}:{self.causes}"

    def acts(self) -> list[Recorded]:
        """Metered acts that are not voided: the database's index allows one void an act."""
        voided = {e.fact.usage_id for e in self.book if isinstance(e.fact, UsageVoided)}
        return [
            e
            for e in self.book
            if isinstance(e.fact, Debited | UsageRecorded)
            and e.fact.usage is not None
            and usage_id(e.originator_id, e.originator_version) not in voided
        ]

    def payments(self) -> list[Credited]:
        return [
            e.fact for e in self.book if isinstance(e.fact, Credited) and e.fact.payment_attempt_id
        ]

    def check_funding(self, act: Debited | UsageRecorded) -> None:
        """L2: what an act costs is paid for once, and its draws add up."""
        draws = act.draws
        wallet = sum(d.amount for d in draws if d.source == "wallet")
        absorbed = sum(d.amount for d in draws if d.source == "absorbed")
        assert wallet == (act.amount if isinstance(act, Debited) else 0)
        assert all(sum(d.grants.values()) <= d.amount for d in draws if d.source == "wallet")
        assert all(d.units >= 0 and d.amount >= 0 for d in draws)
        if act.units == 0 and act.rated is not None:
            assert wallet + absorbed == act.rated.total
        included = sum(d.units for d in draws if d.source == "allowance")
        assert included <= act.units


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
