"""Starting: several at once, a second time, and with a catalogue that makes no sense."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from adapters.catalogues import CatalogueUnusable
from adapters.postgres.database import Database
from adapters.settings import SettingsUnusable, read_settings
from api.app import create_app
from tests.api.conftest import serve, settings_of, until


def published(database: Database) -> list[str]:
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute(
            "SELECT kind FROM events WHERE kind LIKE '%Published' ORDER BY notification_id"
        ).fetchall()
    return [row[0] for row in rows]


def test_processes_that_start_together_publish_the_catalogue_once(database: Database) -> None:
    settings = settings_of(database)
    with ExitStack() as stack:
        first = stack.enter_context(serve(settings))
        second = stack.enter_context(serve(settings, folding=False))
        workspace = first.workspace("20")

        assert first.charge(workspace, event_id="e").status_code == 201
        assert second.charge(workspace, event_id="e").status_code == 200
        assert second.balance(workspace) == 20_000_000 - 38887

    assert published(database) == ["CatalogueVersionPublished", "PriceBookVersionPublished"]


def test_a_second_start_publishes_nothing(database: Database) -> None:
    for _ in range(2):
        with serve(settings_of(database), folding=False):
            pass

    assert len(published(database)) == 2


def test_readiness_says_how_far_the_read_models_are(database: Database) -> None:
    with serve(settings_of(database), folding=False) as served:
        served.workspace()
        ready = served.get("/readyz")
        assert ready["status"] == "ok"
        assert ready["projection_lag"]["balances"] > 0
        metrics = served.http.get("/metrics").text
        assert 'daybook_projection_lag_positions{model="balances"}' in metrics
    with serve(settings_of(database)) as served:
        until(lambda: set(served.get("/readyz")["projection_lag"].values()) == {0})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("currency: usd", "currency: dollars"), "2: currency"),
        (("currency: usd", "currency: usd\ncurrency: usd"), "currency stands here twice"),
        (("price_minor: 1700", 'price_minor: "1700"'), "plans.connect.price_minor"),
        (("price_minor: 1700", "price_minor: true"), "plans.connect.price_minor"),
        (("entry_rule: positive", "entry_rul: positive"), "meters.chat"),
        (("default_plan: free", "default_plan: gold"), "default_plan"),
        (('"0.025"', '"-0.025"'), "gpt-5.4-mini"),
        (("overdraft: record", "overdraft: ["), "is not a catalogue"),
        (('"2026-01-01T00:00:00Z"', '"2026-01-01"'), "price_book.effective_from"),
    ],
)
def test_a_deployment_with_a_bad_catalogue_does_not_start(
    database: Database, tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    text = Path("adapters/catalogues/faces.yaml").read_text()
    assert change[0] in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(*change, 1))

    with pytest.raises(CatalogueUnusable) as refused:
        create_app(settings_of(database, str(path)))

    assert says in str(refused.value)
    assert "mine.yaml" in str(refused.value)


def test_settings_say_what_is_missing_without_showing_a_password() -> None:
    url = "postgresql://me:secret@localhost/x"

    with pytest.raises(SettingsUnusable, match="DAYBOOK_RUNTIME_URL"):
        read_settings({})
    with pytest.raises(SettingsUnusable, match="DAYBOOK_TEST_CLOCK") as refused:
        read_settings({"DAYBOOK_RUNTIME_URL": url, "DAYBOOK_TEST_CLOCK": "maybe"})
    assert "secret" not in str(refused.value)
    settings = read_settings({"DAYBOOK_RUNTIME_URL": url, "DAYBOOK_TEST_CLOCK": "1"})
    assert read_settings(settings.environment()) == settings


@pytest.mark.parametrize("name", ["UPSTREAM_URL", "DAYBOOK_PUBLIC_URL", "STRIPE_API_URL"])
@pytest.mark.parametrize("text", ["nonsense", "ftp://example.com", "http://", "http://[", "/v1"])
def test_an_address_that_is_none_is_named_before_anything_starts(name: str, text: str) -> None:
    given = {"DAYBOOK_RUNTIME_URL": "postgresql://localhost/x", name: text}

    with pytest.raises(SettingsUnusable, match=name):
        read_settings(given)
    read_settings(given | {name: "https://example.com/v1"})
