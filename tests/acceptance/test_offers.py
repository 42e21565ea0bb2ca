"""Plans that were shown and are not sold any more when somebody confirms (2.5, X25, X44)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import done, refused
from tests.acceptance.subscribing import asked, confirm, preview, subscribed, subscription
from tests.acceptance.test_enterprise import quote
from tests.api.sandboxed import Sandboxed, sandboxed


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def test_what_is_no_longer_offered_is_not_confirmed(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    offers = f"/v1/admin/workspaces/{workspace}/custom-plan"
    withdrawn, brief = quote(shop.app, workspace)["plan_id"], "acme-june"
    quote(shop.app, workspace, plan_id=brief, valid_until="2026-06-01T00:05:00Z")
    quotes = {
        plan: done(preview(shop, workspace, plan), 200) for plan in (withdrawn, brief, "enterprise")
    }
    assert quotes[brief]["expires_at"] == "2026-06-01T00:05:00Z"
    before = len(asked(shop, "POST", "/v1/subscriptions/"))

    done(shop.app.call("DELETE", f"{offers}/{withdrawn}"), 200)
    text = Path("adapters/catalogues/flarex.yaml").read_text()
    retired = text.replace("enterprise: {status: live", "enterprise: {status: dormant")
    assert shop.app.post("/v1/admin/catalogue", {"document": retired}).status_code == 201
    shop.to("2026-06-01T00:05:00Z")

    for plan, code in (
        (withdrawn, "plan_not_available"),
        ("enterprise", "plan_not_available"),
        (brief, "preview_stale"),
    ):
        refused(confirm(shop, workspace, quotes[plan]["preview_id"]), 409, code)
    assert len(asked(shop, "POST", "/v1/subscriptions/")) == before
    assert subscription(shop, workspace)["plan"] == "starter"
