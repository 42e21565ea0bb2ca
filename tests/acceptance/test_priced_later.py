"""Acts that were recorded without a price: what becomes of them when it comes, and when voided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.spending import done, refused, to, use
from tests.api.conftest import Served, serve, settings_of

DAY_2, DAY_3 = "2026-06-02T00:00:00Z", "2026-06-03T00:00:00Z"


def priced(app: Served, input_usd: str = "3.00", output_usd: str = "0") -> None:
    """The model gets its price, and what waited for it is rated."""
    to(app, DAY_2)
    price = {"model": "new-model", "input_usd_per_m": input_usd, "output_usd_per_m": output_usd}
    book = {"markup_bps": 0, "effective_from": DAY_2, "entries": [price]}
    assert done(app.post("/v1/admin/price-books", book))["rated"] == 1


def unpriced(app: Served, workspace: str, meter: str, tokens: int) -> str:
    """An act of a model that has no price yet; its id."""
    told = done(use(app, workspace, meter, tokens, llm_model="new-model", mode="record"))
    assert told["total_cost_usd"] is None
    return str(told["usage_id"])


def void(app: Served, workspace: str, usage_id: str) -> Any:
    """Take an act back."""
    body = {"reason": "a mistake", "ticket_ref": "t-1"}
    return app.post(f"/v1/usage/{usage_id}/void", body, workspace)


def totals(app: Served, workspace: str) -> Any:
    """What the history of the first days adds up to; audited on the way."""
    moment = app.position()
    query = {"start_date": "2026-06-01", "end_date": "2026-06-03", "min_position": moment}
    found = app.get("/v1/billing/usage", workspace, **query)["totals"]
    assert app.get("/v1/audit/compare")["differences"] == []
    return found


def test_the_wallet_pays_its_share_of_a_part_that_the_quota_did_not_cover(faces0: Served) -> None:
    """2,900 of 3,000 tokens are beyond the quota: 9,000 µ · 2,900 / 3,000 = 8,700 µ."""
    workspace = faces0.workspace("1.00")
    done(use(faces0, workspace, "compile", 4_900))
    act = unpriced(faces0, workspace, "interview", 3_000)
    quota = faces0.get("/v1/billing/compile-quota", workspace, consistency="strong")
    assert quota["tokens_remaining"] == 0

    priced(faces0)

    assert faces0.balance(workspace) == 1_000_000 - 8_700
    assert str(totals(faces0, workspace)["total_cost_usd"]) == "0.0087"
    told = faces0.get(f"/v1/audit/charges/{act}/explain")
    assert [
        (one["source"], one.get("units", 0), one.get("amount", 0)) for one in told["funding"]
    ] == [
        ("allowance", 100, 0),
        ("wallet", 0, 8_700),
    ]

    done(void(faces0, workspace, act), 200)

    quota = faces0.get("/v1/billing/compile-quota", workspace, consistency="strong")
    assert quota["tokens_remaining"] == 100, "what the quota gave comes back as well"
    assert faces0.balance(workspace) == 1_000_000
    after = totals(faces0, workspace)
    assert (after["request_count"], str(after["total_cost_usd"])) == (1, "0")
    refused(void(faces0, workspace, act), 409, "already_voided")


def test_a_price_that_comes_to_nothing_leaves_an_act_that_can_be_voided(faces0: Served) -> None:
    workspace = faces0.workspace("1.00")
    act = unpriced(faces0, workspace, "chat", 1)
    priced(faces0, "0.40")
    assert faces0.facts(workspace)[-1] == "UsageRated"

    done(void(faces0, workspace, act), 200)

    assert totals(faces0, workspace)["request_count"] == 0
    assert faces0.balance(workspace) == 1_000_000


def test_what_an_empty_wallet_lacks_for_a_late_price_is_written_off_too(write_off: Served) -> None:
    workspace = write_off.workspace("0.01")
    act = unpriced(write_off, workspace, "chat", 10_000)

    priced(write_off)

    assert write_off.balance(workspace) == 0, "this catalogue knows no debt"
    assert str(totals(write_off, workspace)["total_cost_usd"]) == "0.01"
    told = write_off.get(f"/v1/audit/charges/{act}/explain")
    assert [(one["source"], one["amount"]) for one in told["funding"]] == [
        ("absorbed", 20_000),
        ("wallet", 10_000),
    ]
    done(void(write_off, workspace, act), 200)
    assert write_off.balance(workspace) == 10_000
    totals(write_off, workspace)


def test_a_late_price_takes_nothing_of_a_grant_that_is_over(faces0: Served) -> None:
    workspace = faces0.workspace("1.00")
    promo = {"amount_usd": "0.50", "category": "promotional", "expires_at": DAY_2}
    done(faces0.post(f"/v1/admin/workspaces/{workspace}/credits", promo))
    unpriced(faces0, workspace, "chat", 1_000)

    priced(faces0)

    assert faces0.facts(workspace)[-3:] == ["CreditsExpired", "UsageRated", "Debited"]
    assert faces0.balance(workspace) == 1_000_000 - 3_000


@pytest.mark.parametrize("early", [True, False])
def test_an_act_of_no_units_costs_nothing_whenever_its_price_comes(
    database: Database, tmp_path: Path, early: bool
) -> None:
    """The meter counts what goes in; this act had only an output."""
    counted = "tokens_per_unit: 1, weight_output: 0, waterfall: [oauth, allowance, wallet]"
    was = counted.replace("weight_output: 0, ", "")
    changes = (("markup_bps: 500", "markup_bps: 0"), (was, counted))
    with serve(settings_of(database, catalogue(tmp_path, "faces", *changes))) as app:
        workspace = app.workspace("1.00")
        model = "gpt-5.4" if early else "new-model"
        act = {"llm_model": model, "mode": "record"}

        told = done(use(app, workspace, "interview", 0, 1_000, **act))
        if not early:
            priced(app, output_usd="15.00")

        assert [one for one in told["funding"] if one["amount_micros"]] == []
        assert app.balance(workspace) == 1_000_000
        assert app.facts(workspace)[-1] == ("UsageRecorded" if early else "UsageRated")
        assert app.get("/v1/audit/compare")["differences"] == []


def test_a_price_that_no_balance_can_hold_waits_for_another_and_holds_up_nobody(
    faces0: Served,
) -> None:
    workspace, other = faces0.workspace("1.00"), faces0.workspace("1.00")
    huge = {"llm_model": "new-model", "mode": "record"}
    done(use(faces0, workspace, "chat", 1_000_000_000, **huge))
    unpriced(faces0, other, "chat", 1_000)
    to(faces0, DAY_2)
    slip = {"model": "new-model", "input_usd_per_m": "900000000", "output_usd_per_m": "0"}
    book = {"markup_bps": 1_000_000, "effective_from": DAY_2, "entries": [slip]}

    assert done(faces0.post("/v1/admin/price-books", book))["rated"] == 1

    assert faces0.balance(workspace) == 1_000_000
    assert faces0.balance(other) < 0
    done(faces0.post("/v1/test/tick"), 200)
    right = book | {"markup_bps": 0, "entries": [slip | {"input_usd_per_m": "0.000001"}]}
    to(faces0, DAY_3)
    assert done(faces0.post("/v1/admin/price-books", right | {"effective_from": DAY_3}))["rated"]
    assert faces0.balance(workspace) == 1_000_000 - 1_000
