"""A charge explains itself to the last byte: who asked, what allowed it, what paid, and how its
event leads to a checkpoint that is signed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.catalogues import FOLDER
from tests.acceptance.spending import authorize, done, on_plan, put, use
from tests.api.auditing.sealed import chain, sealing_in
from tests.api.conftest import Served
from tests.api.contract.invoicing import invoice, mirrored, overage


def explained(app: Served, usage_id: str) -> Any:
    return app.get(f"/v1/audit/charges/{usage_id}/explain")


def facts_at(app: Served, position: int) -> Any:
    where: dict[str, Any] = {"from_position": position, "to_position": position}
    (event,) = app.get("/v1/audit/events", **where)["data"]
    return event


@pytest.mark.scenario("S101")
def test_a_settled_hold_is_explained_from_the_key_to_the_money_that_paid(app: Served) -> None:
    workspace = app.workspace("20.00")
    held = done(authorize(app, workspace, 1_000, 2_000, api_key_id="key_7"))
    hold = held["hold_id"]
    act = done(app.charge(workspace, hold_id=hold, api_key_id="key_7"))

    why = explained(app, act["usage_id"])

    assert why["hold"]["hold_id"] == hold
    assert why["hold"]["route"] == "wallet"
    assert why["policy"]["policy_version"] == why["hold"]["policy_version"]
    assert why["policy"]["plan"] == "free"
    assert "wallet" in why["policy"]["waterfall"]
    assert why["cycle"]["period_start"] < why["cycle"]["period_end"]
    steps = why["causation"]
    assert [one["step"] for one in steps] == ["api_key", "hold", "usage", "debit", "credit"]
    assert steps[0]["ref"] == "key_7"
    for step, kind in zip(steps[1:], ("HoldPlaced", "Debited", "Debited", "Credited"), strict=True):
        event = facts_at(app, step["position"])
        assert (event["type"], event["event_hash"]) == (kind, step["event_hash"])
        assert (event["stream_id"], event["version"]) == (step["stream_id"], step["version"])
    assert why["event_hash"] == steps[2]["event_hash"]
    assert why["invoice_lines"] == []
    assert why["inclusion"] is None  # nobody has chained it yet


def test_the_path_of_hashes_ends_at_the_next_signed_checkpoint(app: Served, tmp_path: Path) -> None:
    workspace = app.workspace("20.00")
    act = done(app.charge(workspace))
    for _ in range(3):
        done(app.charge(workspace))
    chain(app.database)
    unsigned = explained(app, act["usage_id"])["inclusion"]
    assert unsigned["checkpoint"] is None
    assert len(unsigned["path"]) == 1
    chain(app.database, sealing_in(tmp_path, 1_000), seal=True)

    why = explained(app, act["usage_id"])

    inclusion = why["inclusion"]
    sealed = inclusion["checkpoint"]
    assert sealed["position"] == why["position"] + 3
    assert inclusion["path"][0] == {"position": why["position"], "event_hash": why["event_hash"]}
    hash_ = bytes.fromhex(inclusion["chain_hash_before"])
    for step in inclusion["path"]:
        hash_ = hashlib.sha256(hash_ + bytes.fromhex(step["event_hash"])).digest()
    assert hash_.hex() == sealed["chain_hash"]
    told = app.get("/v1/audit/checkpoints")["data"]
    assert sealed in told


def test_an_act_that_units_paid_names_the_policy_and_no_debit(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    act = done(use(flarex, workspace, "chat_generation", 900, llm_model=None, action="chat"))

    why = explained(flarex, act["usage_id"])

    assert [one["step"] for one in why["causation"]] == ["api_key", "usage"]
    assert (why["policy"]["plan"], why["policy"]["waterfall"]) == (
        "starter",
        ["allowance", "overage"],
    )
    assert why["hold"] is None


def test_overage_names_the_line_of_the_invoice_that_billed_it(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    put(flarex, "/v1/billing/overage", {"enabled": True}, workspace)
    acts = [
        done(use(flarex, workspace, "chat_generation", 600_000, llm_model=None, action="chat"))[
            "usage_id"
        ]
        for _ in range(2)
    ]
    before = explained(flarex, acts[1])
    assert before["invoice_lines"] == []
    same = {"cycle_id": before["cycle"]["cycle_id"], "unit_amount_micros": 20_000}
    line = msgspec.structs.replace(overage("b1", 200, 400), **same)
    of_bot = msgspec.structs.replace(line, line_id="il_other")
    unnamed = msgspec.structs.replace(line, line_id="il_all", bot_id=None)
    mirrored(flarex.database, invoice(workspace, lines=(of_bot, unnamed)))
    flarex.get("/v1/billing/invoices", workspace, consistency="strong")

    (billed,) = explained(flarex, acts[1])["invoice_lines"]

    assert (billed["invoice_id"], billed["line_id"], billed["quantity"]) == ("in_1", "il_all", 200)
    assert explained(flarex, acts[0])["invoice_lines"] == []
    key = flarex.key("audit:read", workspace_id=workspace)
    seen = flarex.call("GET", "/v1/audit/events", key=key, stream="invoice/in_1").json()["data"]
    assert [one["type"] for one in seen][:2] == ["InvoiceDrafted", "InvoiceLineRecorded"]
    listed = flarex.call("GET", "/v1/audit/events", key=key, limit=1000, consistency="strong")
    assert "invoice/in_1" in {one["stream"] for one in listed.json()["data"]}
    stranger = flarex.key("audit:read", workspace_id=flarex.workspace())
    for path in ("events", "replay", "verify"):
        asked = flarex.call("GET", f"/v1/audit/{path}", key=stranger, stream="invoice/in_1")
        assert asked.status_code == 404


def test_units_are_explained_by_the_rule_that_was_in_force(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    call = {"llm_model": None, "action": "chat"}
    act = done(use(flarex, workspace, "chat_generation", 12_345, 678, **call))
    least = done(use(flarex, workspace, "chat_generation", 0, **call))
    dearer = (FOLDER / "flarex.yaml").read_text()
    for before, after in (("tokens_per_unit: 1000", 700), ("weight_output: 1", 3)):
        assert before in dearer
        dearer = dearer.replace(before, f"{before.partition(':')[0]}: {after}")
    done(flarex.post("/v1/admin/catalogue", {"document": dearer}))
    later = done(use(flarex, workspace, "chat_generation", 12_345, 678, **call))

    why = explained(flarex, act["usage_id"])

    assert why["formula"] is None
    assert why["conversion"] == {
        "text": "(1 × 12345 + 1 × 678) / 1000 = 13023/1000, rounded up → 14 ai_credits",
        "bucket": "ai_credits",
        "weight_input": 1,
        "weight_output": 1,
        "tokens_per_unit": 1000,
        "min_units": 1,
        "units_exact": "13023/1000",
        "rounding": "ceil",
        "units": 14,
        "catalogue_version": 1,
    }
    changed = explained(flarex, later["usage_id"])["conversion"]
    assert (changed["catalogue_version"], changed["units"]) == (2, 21)
    assert changed["units_exact"] == "14379/700"
    assert explained(flarex, least["usage_id"])["conversion"]["text"] == (
        "(1 × 0 + 1 × 0) / 1000 = 0, rounded up → 1 ai_credits,"
        " the least that a call counts (min_units 1)"
    )


@pytest.mark.scenario("S52")
def test_the_share_that_credit_pays_is_explained(app: Served) -> None:
    workspace = on_plan(app, "connect", "5.00")
    done(use(app, workspace, "compile", 90_000, llm_model="gpt-5.4-mini"))
    quota = "/v1/billing/compile-quota"
    app.call("PATCH", quota, {"allow_compile_overflow": True}, workspace=workspace)
    act = done(use(app, workspace, "compile", 12_000, 3_000, llm_model="gpt-5.4-mini"))

    why = explained(app, act["usage_id"])

    assert why["formula"]["total_micros"] == 9_450
    assert why["share"] == {
        "text": "price × 5000 / 15000 = 3150 µ, half-even → 3150 µ;"
        " 10000 of 15000 units were included",
        "included_units": 10_000,
        "units": 15_000,
        "exact": "3150",
        "rounding": "half-even",
        "amount_micros": 3_150,
    }
    assert why["charged_micros"] == 3_150
    assert why["conversion"]["units"] == 15_000


def test_overage_names_the_line_of_its_own_bot_price_and_time(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    put(flarex, "/v1/billing/overage", {"enabled": True}, workspace)

    def act(bot: str | None) -> str:
        body = {"llm_model": None, "action": "chat", "bot_id": bot}
        used = use(flarex, workspace, "chat_generation", 1_000_000, **body)
        return str(done(used)["usage_id"])

    act(None)
    acts = {bot: act(bot) for bot in ("b1", None, "b9")}
    cycle_id = explained(flarex, acts["b1"])["cycle"]["cycle_id"]
    lines = {
        # line: bot, µ for one, what is said of it
        "il_b1": ("b1", 20_000, "bot b1, cycle"),
        "il_b1_late": ("b1", 20_000, "bot b1, cycle, reported late"),
        "il_b1_dear": ("b1", 30_000, "bot b1, cycle"),
        "il_none": (None, 20_000, "no bot, cycle"),
        "il_others": (None, 20_000, "other bots, cycle"),
    }
    told = [
        msgspec.structs.replace(
            overage("b", 1, 2),
            line_id=line_id,
            bot_id=bot,
            unit_amount_micros=price,
            description=text,
            cycle_id=cycle_id,
        )
        for line_id, (bot, price, text) in lines.items()
    ]
    mirrored(flarex.database, invoice(workspace, lines=tuple(told)))
    flarex.get("/v1/billing/invoices", workspace, consistency="strong")

    named = {
        bot: [one["line_id"] for one in explained(flarex, usage_id)["invoice_lines"]]
        for bot, usage_id in acts.items()
    }
    assert named == {"b1": ["il_b1"], None: ["il_none"], "b9": ["il_others"]}
