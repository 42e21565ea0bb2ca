"""Deployments for the scenarios: `faces` with and without markup, the clock at 2026-06-01."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.postgres.database import Database
from tests.api.conftest import Served, serve, settings_of

CATALOGUES = Path(__file__).resolve().parents[2] / "adapters" / "catalogues"


def catalogue(folder: Path, name: str, *changes: tuple[str, str]) -> str:
    """A shipped catalogue with a few words changed; its path."""
    text = (CATALOGUES / f"{name}.yaml").read_text()
    for old, new in changes:
        assert old in text, f"{name}.yaml does not say {old!r}"
        text = text.replace(old, new)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def faces(database: Database) -> Iterator[Served]:
    """Appendix A, 5 % markup."""
    with serve(settings_of(database)) as served:
        yield served


@pytest.fixture
def faces0(database: Database, tmp_path: Path) -> Iterator[Served]:
    """Appendix A without markup."""
    path = catalogue(tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"))
    with serve(settings_of(database, path)) as served:
        yield served


@pytest.fixture
def write_off(database: Database, tmp_path: Path) -> Iterator[Served]:
    """As `faces0`, but what the wallet lacks is written off."""
    path = catalogue(
        tmp_path,
        "faces",
        ("markup_bps: 500", "markup_bps: 0"),
        ("overdraft: record", "overdraft: write_off"),
    )
    with serve(settings_of(database, path)) as served:
        yield served
