"""A catalogue in a currency without cents: one yen is one minor unit, a million µ (spec 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.catalogues import CatalogueUnusable, load
from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.paying import auto, balance, intents, settle, topup, with_card
from tests.acceptance.spending import done, put, refused
from tests.acceptance.subscribing import at, last, spend, stripe_invoices, subscribed
from tests.api.sandboxed import Sandboxed, sandboxed

END, FINAL = "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"
YEN = ("currency: usd", "currency: jpy")


@pytest.fixture
def wallets(database: Database, tmp_path: Path) -> Iterator[Sandboxed]:
    """`faces` in yen."""
    path = catalogue(tmp_path, "faces", YEN, ('min_usd: "1.00"', 'min_usd: "100"'))
    with sandboxed(database, path, mode="held") as both:
        yield both


@pytest.fixture
def plans(database: Database, tmp_path: Path) -> Iterator[Sandboxed]:
    """`flarex` in yen: Starter is 1,000 yen, a unit beyond it 2.50."""
    path = catalogue(
        tmp_path, "flarex", YEN, ('overage_unit_usd: "0.020"', 'overage_unit_usd: "2.5"')
    )
    with sandboxed(database, path, mode="held") as both:
        yield both


def test_a_top_up_charges_whole_yen_and_its_receipt_says_the_same(wallets: Sandboxed) -> None:
    workspace = with_card(wallets)
    done(topup(wallets, workspace, "2000"), 200)
    settle(wallets)

    assert intents(wallets)[-1]["params"]["amount"] == "2000"
    assert balance(wallets, workspace)["balance_micros"] == 2_000 * 1_000_000
    [receipt] = wallets.app.get("/v1/billing/invoices", workspace)["data"]
    assert (receipt["total_minor"], receipt["amount_paid_minor"]) == (2_000, 2_000)
    refused(topup(wallets, workspace, "2000.50"), 422, "validation_error")
    assert wallets.app.get("/v1/audit/compare")["differences"] == []


def test_a_target_is_reached_in_whole_yen(wallets: Sandboxed) -> None:
    workspace = with_card(wallets, "500.4")
    auto(wallets, workspace, threshold_usd=501, amount_usd=None, target_usd=1_000)
    settle(wallets)

    assert intents(wallets)[-1]["params"]["amount"] == "500"
    assert balance(wallets, workspace)["balance_micros"] == 1_000_400_000


def test_overage_is_rounded_to_whole_yen(plans: Sandboxed) -> None:
    """3 units · ¥2.50 = ¥7.50, half-even 8."""
    workspace = subscribed(plans, "starter")
    put(plans.app, "/v1/billing/overage", {"enabled": True}, workspace)
    spend(plans, workspace, 1_003)
    at(plans, END)
    at(plans, FINAL)

    [line] = last(plans, workspace, "CycleClosed")["overage"]
    assert (line["amount"], line["amount_minor"]) == (7_500_000, 8)
    assert stripe_invoices(plans, workspace)[0]["total"] == 1_000 + 8
    shown = plans.app.get("/v1/billing/invoices", workspace)["data"][0]
    assert [(one["kind"], one["unit_price_usd"]) for one in shown["lines"]] == [
        ("plan", 1_000),
        ("overage", pytest.approx(2.5)),
    ]
    sold = plans.app.get("/v1/billing/plans", workspace)["data"]
    assert [one["price_usd"] for one in sold if one["plan"] == "starter"] == [1_000]
    assert plans.app.get("/v1/audit/compare")["differences"] == []


def test_a_currency_in_thousandths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueUnusable, match="thousandths"):
        load(catalogue(tmp_path, "faces", ("currency: usd", "currency: kwd")))


@pytest.mark.parametrize("currency", ["isk", "ugx"])
def test_a_currency_that_has_no_cents_but_is_counted_in_them_is_refused(
    tmp_path: Path, currency: str
) -> None:
    with pytest.raises(CatalogueUnusable, match="hundredths"):
        load(catalogue(tmp_path, "faces", ("currency: usd", f"currency: {currency}")))
