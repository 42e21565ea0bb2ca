"""Overage by bot and price: rounded once, shared by largest remainder, on an invoice once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.account.overage import LINES_MAX, SHARES_KEPT, Share, accrued, apportion, lines_of
from domain.contract.facts import OverageInvoiced
from domain.contract.processor import InvoiceIsFinal
from domain.contract.subscription import CycleClosed
from domain.money import MINOR, round_half_even
from tests.domain.given import NOW
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant

END = NOW.replace(month=7)


def share(bot: str | None, amount: int, **fields: object) -> Share:
    """What a bot used, in µ at one µ a unit."""
    terms: dict[str, object] = {"unit_price": 1, "units": amount, "amount": amount} | fields
    return Share("ai_credits", "pro", 1, bot_id=bot, **terms)  # type: ignore[arg-type]


def shares(*parts: Share) -> dict[str, Share]:
    """As an account keeps them."""
    kept: dict[str, Share] = {}
    for part in parts:
        kept = accrued(kept, part)
    return kept


def overspent(plan: str = "pro") -> Tenant:
    """Subscribed, with everything included used and overage agreed to."""
    tenant = Tenant("flarex")
    tenant.subscribe(plan)
    tenant.generate(tenant.remaining())
    tenant.overage(True)
    return tenant


def test_s66_184_cents_are_90_61_and_33() -> None:
    assert apportion([900_000, 615_000, 330_000], ["b1", "b2", "b3"]) == [90, 61, 33]


def test_ties_go_to_the_larger_amount_then_to_the_smaller_name() -> None:
    assert apportion([5_000, 15_000, 5_000], ["a", "b", "c"]) == [0, 2, 0]
    assert apportion([5_000, 5_000, 5_001], ["b", "a", "c"]) == [0, 1, 1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(10**9), 10**9), max_size=30))
def test_the_parts_add_up_to_the_rounded_total_and_none_is_a_cent_off(amounts: list[int]) -> None:
    parts = apportion(amounts, [f"b{i}" for i in range(len(amounts))])
    assert sum(parts) == round_half_even(sum(amounts), MINOR)
    assert all(abs(part * MINOR - amount) < MINOR for part, amount in zip(parts, amounts))  # noqa: B905


def test_more_lines_than_an_invoice_takes_are_merged_smallest_first() -> None:
    many = [share(f"b{number:04}", 10_000 * (number + 1)) for number in range(500)]
    lines = lines_of(shares(*many).values())
    assert len(lines) == LINES_MAX
    [merged] = [line for line in lines if line.merged]
    assert merged.bot_id is None
    assert sum(line.amount for line in lines) == sum(part.amount for part in many)
    assert min(line.amount for line in lines if not line.merged) == 10_000 * (500 - LINES_MAX + 2)


def test_an_account_tells_apart_a_bounded_number_of_bots() -> None:
    kept = shares(*(share(f"b{number}", 1) for number in range(SHARES_KEPT + 50)))
    assert len(kept) == SHARES_KEPT + 1
    assert sum(part.units for part in kept.values()) == SHARES_KEPT + 50


def test_what_is_voided_leaves_no_line_and_a_settled_cycles_is_a_credit() -> None:
    tenant = overspent()
    act = tenant.generate(10, bot_id="b1")
    tenant.generate(5, bot_id="b2")
    tenant.void(act)
    later = tenant.generate(20, bot_id="b2")
    tenant.to(END)
    tenant.roll_over()
    tenant.void(later)
    tenant.to(END.replace(month=8))
    tenant.roll_over()

    first, second = tenant.facts(CycleClosed)
    assert [(line.bot_id, line.units) for line in first.overage] == [("b2", 25)]
    assert [(line.bot_id, line.units, line.amount_minor) for line in second.overage] == [
        ("b2", -20, -30)
    ]


def test_late_usage_is_a_line_of_its_own() -> None:
    tenant = overspent()
    tenant.generate(3, bot_id="b1")
    tenant.to(END)
    tenant.roll_over()
    tenant.generate(tenant.remaining())
    tenant.generate(7, bot_id="b1", occurred_at=END - timedelta(hours=1))
    tenant.generate(2, bot_id="b1")
    tenant.to(END.replace(month=8))
    tenant.roll_over()
    lines = tenant.facts(CycleClosed)[-1].overage
    assert {(line.late, line.units) for line in lines} == {(True, 7), (False, 2)}


def test_overage_waits_for_its_draft_and_then_stands_on_it_once() -> None:
    tenant = overspent()
    tenant.generate(60, bot_id="b1")
    tenant.generate(41)
    tenant.to(END)
    tenant.roll_over()
    assert tenant.bill() == []
    tenant.stripe.draft = "in_draft"
    assert len(tenant.bill()) == 1
    assert tenant.bill() == []
    assert sorted(tenant.stripe.items.values()) == [("in_draft", 61), ("in_draft", 90)] or sum(
        minor for _, minor in tenant.stripe.items.values()
    ) == round_half_even(101 * 15_000, MINOR)
    [billed] = tenant.facts(OverageInvoiced)
    assert (billed.stripe_invoice_id, billed.amount) == ("in_draft", 152)


def test_lines_that_stand_already_are_not_put_there_again() -> None:
    tenant = overspent()
    for bot in ("b1", "b2", "b3"):
        tenant.generate(10, bot_id=bot)
    tenant.to(END)
    tenant.roll_over()
    [cycle] = tenant.subscription.unbilled
    tenant.stripe.items[cycle, 1] = ("in_draft", 15)  # and the process died
    tenant.stripe.draft = "in_draft"
    tenant.bill()
    assert len(tenant.stripe.items) == 3


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_draft_that_becomes_final_meanwhile_leaves_the_rest_to_another_invoice(
    before: int,
) -> None:
    tenant = overspent()
    for bot in ("b1", "b2", "b3"):
        tenant.generate(10, bot_id=bot)
    tenant.to(END)
    tenant.roll_over()
    stripe, add, taken = tenant.stripe, tenant.stripe.add_line, 0

    async def until_final(customer: str, invoice: str, item: object, key: str) -> None:
        nonlocal taken
        if invoice == "in_draft" and taken == before:
            raise InvoiceIsFinal
        taken += 1
        await add(customer, invoice, item, key)  # type: ignore[arg-type]

    stripe.draft = "in_draft"
    stripe.add_line = until_final  # type: ignore[method-assign,assignment]
    tenant.bill()
    on_draft = [place for place, (invoice, _) in stripe.items.items() if invoice == "in_draft"]
    assert (len(stripe.items), len(on_draft)) == (3, before)
    assert len(stripe.final) == 1


def test_after_the_end_there_is_no_draft_to_wait_for() -> None:
    tenant = overspent("starter")
    tenant.generate(10)
    tenant.cancel()
    tenant.to(END)
    tenant.roll_over()
    tenant.bill()
    [(_, minor)] = tenant.stripe.items.values()
    assert minor == 20
    assert not tenant.subscription.overage_enabled


def test_a_plan_without_a_card_has_a_statement_and_no_invoice() -> None:
    tenant = Tenant("flarex", "starter")
    tenant.generate(1_000)
    tenant.overage(True)
    tenant.generate(10)
    tenant.to(END)
    tenant.roll_over()
    assert tenant.facts(CycleClosed)[0].amount_minor == 20
    assert run(tenant.ledger.bill_overage(tenant.stripe, WORKSPACE, tenant.context)) == []
