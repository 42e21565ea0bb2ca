"""`scripts/_setup.sh` where it cannot work says what is in the way, and what to do."""

import os
import shutil
import subprocess
from pathlib import Path

SETUP = Path(__file__).parents[2] / "scripts" / "_setup.sh"


def test_an_environment_that_is_a_link_to_nowhere_is_named_with_its_cure(tmp_path: Path) -> None:
    shutil.copy(SETUP.parents[1] / "requirements.lock", tmp_path)
    (tmp_path / ".venv").symlink_to("gone")

    ended = subprocess.run(
        ["bash", "-c", f'root=$PWD; set -euo pipefail; . "{SETUP}"'],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (
        1,
        f"daybook: {tmp_path}/.venv is a link to a place that does not exist.\n"
        f"  Remove it and start again: rm {tmp_path}/.venv\n",
    )
