"""`scripts/run` where it cannot work: one plain line, and nothing is started."""

import subprocess
import sys
from pathlib import Path

from adapters.postgres.database import Database
from tests.api.conftest import serve, settings_of
from tests.api.deployments import environment


def test_the_catalogue_of_another_product_is_refused_before_anything_starts(
    database: Database, tmp_path: Path
) -> None:
    with serve(settings_of(database), folding=False):
        pass

    ended = subprocess.run(
        [sys.executable, "-m", "api.run", "--catalogue", "flarex", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(
            DATABASE_URL=database.runtime_url,
            DAYBOOK_OWNER_URL=database.owner_url,
            DAYBOOK_CELL=database.cell,
        ),
        timeout=60,
        check=False,
    )

    said = ended.stderr.splitlines()
    assert (ended.returncode, len(said)) == (1, 2), ended.stderr
    assert said[1] == "daybook: this ledger was opened with `faces`; use another database"
