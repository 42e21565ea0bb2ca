"""Reports of a cycle add up to what its bucket says, whatever was reported late."""

from __future__ import annotations

from typing import Any

from tests.acceptance.spending import done, funding, generate, on_plan, put, to, use
from tests.api.conftest import Served

END, BEFORE = "2026-07-01T00:00:00Z", "2026-06-30T23:59:59Z"


def breakdown(app: Served, workspace: str, cycle: str) -> Any:
    """The totals of a cycle, with everything that was recorded until now."""
    path = f"/v1/workspaces/{workspace}/usage/breakdown"
    return app.get(path, workspace, cycle=cycle, min_position=newest(app))["totals"]


def newest(app: Served) -> int:
    return int(app.get("/v1/audit/events")["as_of_position"])


def totals(included: int, overage: int = 0, absorbed: int = 0) -> dict[str, int]:
    """As a breakdown says it."""
    every = included + overage + absorbed
    return {"credits": every, "included": included, "overage": overage, "absorbed": absorbed}


def test_late_credits_are_of_the_cycle_that_paid_them(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    done(generate(flarex, workspace, 990_000))
    to(flarex, END)

    act = generate(flarex, workspace, 14_000, occurred_at=BEFORE)
    assert funding(act) == {"allowance": (0, 10), "absorbed": (0, 4)}
    done(generate(flarex, workspace, 3_000))

    assert breakdown(flarex, workspace, "previous") == totals(1_000, absorbed=4)
    assert breakdown(flarex, workspace, "current") == totals(3)
    [bucket] = flarex.get("/v1/billing/balance", workspace, consistency="strong")["buckets"]
    assert bucket["used"] == 3
    void = f"/v1/usage/{act.json()['usage_id']}/void"
    assert flarex.post(void, {}, workspace).status_code == 200
    assert breakdown(flarex, workspace, "previous") == totals(990)
    assert flarex.get("/v1/audit/compare")["equal"] is True


def test_late_overage_is_of_the_cycle_that_bills_it(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    put(flarex, "/v1/billing/overage", {"enabled": True}, workspace)
    done(generate(flarex, workspace, 1_000_000))
    to(flarex, END)

    assert funding(generate(flarex, workspace, 2_000, occurred_at=BEFORE)) == {
        "overage": (40_000, 2)
    }

    assert breakdown(flarex, workspace, "previous") == totals(1_000)
    assert breakdown(flarex, workspace, "current") == totals(0, overage=2)
    assert flarex.get("/v1/billing/overage", workspace)["accrued_units"] == 2


def test_the_faces_add_up_to_the_quota(app: Served) -> None:
    workspace = on_plan(app, "connect")
    done(use(app, workspace, "compile", 10_000, face_id="a"))
    to(app, END)
    done(use(app, workspace, "compile", 5_000, face_id="a", occurred_at=BEFORE))
    done(use(app, workspace, "compile", 300, face_id="b"))

    quota = app.get("/v1/billing/compile-quota", workspace, min_position=newest(app))

    assert quota["tokens_used"] == 300
    assert [
        (face["tokens_charged_period"], face["tokens_charged_alltime"]) for face in quota["faces"]
    ] == [(0, 15_000), (300, 300)]
