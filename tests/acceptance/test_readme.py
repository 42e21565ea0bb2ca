"""What the README shows is what happens: its request, its answer, its commands, its rooms."""

import json
import os
import re
import shlex
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.api.deployments import CHECKOUT, DEADLINE_S, deployed, environment

README = (CHECKOUT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def plain(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def test_its_two_commands_are_there_to_be_run() -> None:
    commands = [line.split("#")[0].split() for line in blocks("sh")[0].splitlines()]

    assert commands == [["scripts/run"], ["scripts/test"]]
    for [command] in commands:
        assert os.access(CHECKOUT / command, os.X_OK)


def test_its_request_gets_its_answer_and_its_commands_run(state_folder: Path) -> None:
    with deployed(state_folder, "--workers", "1") as running:
        tried = running.line["workspaces"][-1]
        request = blocks("sh")[1].replace("$URL", running.url).replace("$KEY", tried["key"])
        answered = subprocess.run(
            shlex.split(request), capture_output=True, text=True, timeout=DEADLINE_S, check=True
        )

        answer, promised = plain(answered.stdout), plain(blocks("json")[0])
        usage_id = answer.pop("usage_id")
        assert usage_id.startswith(promised.pop("usage_id").rstrip("…"))
        assert answer == promised

        for line in blocks("sh")[2].splitlines():
            command = line.split("#")[0].strip().replace("ws_…", tried["id"])
            command = command.replace("use_…", usage_id)
            done = _run_command(command, state_folder)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _run_command(command: str, state: Path) -> "subprocess.CompletedProcess[str]":
    program, *arguments = shlex.split(command)
    assert program == "daybook"
    launcher = CHECKOUT / ".venv" / "bin" / "daybook"
    if not launcher.exists():
        pytest.skip("scripts/test has not made .venv/bin/daybook")
    return subprocess.run(
        [str(launcher), *arguments, "--data", str(state)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_S,
        check=False,
    )


def test_its_rooms_are_the_rooms() -> None:
    named = set(re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE))
    hidden = {".ci", ".git", ".venv", ".daybook", ".gitignore", ".venv.lock"}
    others = {"README.md", "LICENSE", "pyproject.toml", "requirements.lock"}

    tracked = subprocess.run(
        ["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}

    assert top - others - hidden == named
