"""A model that several providers price: the deployment says which of them its upstream is."""

from __future__ import annotations

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import refused
from tests.api.conftest import Served
from tests.api.gateway.provider import gateway, script
from tests.api.gateway.test_gateway import chat, items

WORK = {"model": "gpt-5.4", "message": "Hello"}


def price_twice(app: Served) -> str:
    """Two providers sell gpt-5.4, the second one at twice the price; a workspace with money."""
    entries = [
        {"model": "gpt-5.4", "provider": name, "input_usd_per_m": usd, "output_usd_per_m": usd}
        for name, usd in (("openai", "1"), ("azure", "2"))
    ]
    published = app.post("/v1/admin/price-books", {"markup_bps": 0, "entries": entries})
    assert published.status_code == 201, published.text
    return app.workspace("5")


def test_what_the_upstream_does_costs_what_its_provider_asks(database: Database) -> None:
    with gateway(database, upstream_provider="azure") as app:
        workspace = price_twice(app)
        script(app, input=1_000, output=500)
        before = app.balance(workspace)

        assert chat(app, workspace).status_code == 200

        assert before - app.balance(workspace) == 1_500 * 2
        assert items(app, workspace)[0]["provider"] == "azure"
        threads = app.call("POST", "/v1/compile/threads", WORK, workspace=workspace)
        assert threads.status_code == 201, threads.text


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/compile/threads"], ids=["completions", "compile"]
)
def test_where_nobody_said_which_it_is_the_refusal_names_the_cure(
    database: Database, path: str
) -> None:
    with gateway(database) as app:
        workspace = price_twice(app)
        body = WORK | {"messages": [{"role": "user", "content": "Hello"}]}
        body.pop("message")

        problem = refused(app.call("POST", path, body, workspace=workspace), 422, "unknown_model")

        assert problem["errors"][0]["loc"] == ["body", "model"]
        assert "UPSTREAM_PROVIDER" in problem["detail"]
