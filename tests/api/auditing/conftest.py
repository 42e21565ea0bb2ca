"""A book that is chained and signed for, with something in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.postgres.database import Database
from adapters.settings import Sealing
from domain.ledger import Ledger
from tests.api.auditing.sealed import chain, sealing_in, verdict
from tests.projections.stories import everything, write


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    return sealing_in(tmp_path)


@pytest.fixture
def book(database: Database, sealing: Sealing) -> Database:
    """Some sixty events of two workspaces, chained; every ten are signed for, and the last."""

    async def story(ledger: Ledger) -> None:
        await everything(ledger, "acme")
        await everything(ledger, "other")

    write(database, story, "acme", "other")
    chain(database, sealing, seal=True)
    assert verdict(database, sealing).is_intact
    return database
