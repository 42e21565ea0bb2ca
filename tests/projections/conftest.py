"""Here books begin without tables of read models: who makes them, and when, is what is tested."""

import pytest

from adapters.postgres.embedded import EmbeddedServer
from tests.conftest import migrated

TEMPLATE = "template_book"


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> str:
    """The name of a database with every migration applied, to be copied and never connected to."""
    migrated(server, TEMPLATE)
    return TEMPLATE
