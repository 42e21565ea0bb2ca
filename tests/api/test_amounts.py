"""Amounts that come as text are plain digits, whatever else Python reads as a number."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import InvalidCatalogue
from tests.api.conftest import Served
from tests.api.test_bad_input import expect
from tests.domain.tenant import catalogue, shipped

TEXTS = (
    "1_000",
    "１２",
    "٣",
    " 5 ",
    "5\n",
    "+5",
    "1e3",
    "1E3",
    ".5",
    "5.",
    "5,00",
    "NaN",
    "Infinity",
)


@pytest.mark.parametrize(
    ("method", "path", "field", "body"),
    [
        ("POST", "/v1/billing/topup", "amount_usd", {"payment_ref": "w"}),
        ("PUT", "/v1/billing/auto-topup", "threshold_usd", {"enabled": True, "amount_usd": 20}),
        ("PUT", "/v1/billing/auto-topup", "amount_usd", {"enabled": True, "threshold_usd": 5}),
        ("PUT", "/v1/billing/budgets/b", "limit_usd", {}),
        ("POST", "/v1/admin/workspaces/{}/credits", "amount_usd", {}),
        ("POST", "/v1/admin/workspaces/{}/adjustments", "amount_usd", {"reason": "r"}),
        ("POST", "/v1/admin/workspaces/{}/refunds", "amount_usd", {"payment_attempt_id": "p"}),
    ],
)
def test_an_amount_as_text_is_plain_digits(
    app: Served, method: str, path: str, field: str, body: dict[str, Any]
) -> None:
    """Python's own reader takes all of them for a number."""
    workspace = app.workspace("20")
    before = app.position()

    for text in TEXTS:
        answer = app.call(method, path.format(workspace), body | {field: text}, workspace=workspace)
        expect(answer, 422, "validation_error", field)

    assert app.position() == before


def test_a_price_as_text_is_plain_digits(app: Served) -> None:
    price = {"model": "m", "input_usd_per_m": "1", "output_usd_per_m": "2"}
    workspace = app.workspace()
    custom = f"/v1/admin/workspaces/{workspace}/custom-plan"
    before = app.position()

    for text in TEXTS:
        entries = [price, price | {"model": "n", "output_usd_per_m": text}]
        answer = app.post("/v1/admin/price-books", {"markup_bps": 0, "entries": entries})
        expect(answer, 422, "validation_error", "output_usd_per_m")
        assert 1 in answer.json()["errors"][0]["loc"]
        answer = app.post(custom, {"base": "pro", "overrides": {"overage_unit_usd": text}})
        expect(answer, 422, "validation_error", "overage_unit_usd")

    assert app.position() == before


@pytest.mark.parametrize("text", TEXTS)
def test_a_catalogues_amount_is_plain_digits_too(text: str) -> None:
    prices = {"gpt-5.4": ["3.00", "0.30", text]}
    book = shipped("faces")["price_book"] | {"per_million_usd": prices}
    with pytest.raises(InvalidCatalogue) as refused:
        catalogue("faces", price_book=book)
    assert refused.value.loc[0] == "price_book"

    plans = shipped("flarex")["plans"]
    with pytest.raises(InvalidCatalogue):
        catalogue("flarex", plans=plans | {"pro": plans["pro"] | {"overage_unit_usd": text}})
