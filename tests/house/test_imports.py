"""Rooms open only onto rooms they may, and the domain does nothing but think."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOMS, ROOT, name, sources, tree

MAY_IMPORT = {
    "domain": {"domain"},
    "projections": {"domain", "projections"},
    "adapters": {"domain", "adapters"},
    "api": {"domain", "projections", "adapters", "api"},
}
DOMAIN_MAY_IMPORT = set(sys.stdlib_module_names) | {"domain", "eventsourcing", "msgspec"}
# What the standard library offers against the rule: clocks aside (a test of their own), these
# reach the world.
WORLDLY = {
    "asyncio", "http", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil",
    "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "uuid1", "uuid4", "uuid7", "random"}


def imported(module: ast.Module) -> set[str]:
    """The top-level names of everything that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room they lead to"
            found.add((node.module or "").split(".")[0])
    return found


def strays(room: str, module: ast.Module) -> set[str]:
    """The rooms that a module of this room imports and may not."""
    return imported(module) & set(ROOMS) - MAY_IMPORT[room]


@pytest.mark.parametrize("path", sources(*ROOMS), ids=name)
def test_rooms_open_only_onto_rooms_they_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]

    assert strays(room, tree(path)) == set()


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("domain", "import api.app"),
        ("domain", "from adapters.postgres import writer"),
        ("domain", "def f():\n    import projections.runner"),
        ("projections", "from adapters.postgres.database import Database"),
        ("adapters", "import api"),
        ("adapters", "from projections import runner"),
    ],
)
def test_a_stray_import_is_found(room: str, line: str) -> None:
    assert strays(room, ast.parse(line))


@pytest.mark.parametrize("path", sources("domain"), ids=name)
def test_the_domain_imports_only_what_thinks(path: Path) -> None:
    names = imported(tree(path))

    assert names <= DOMAIN_MAY_IMPORT
    assert not names & WORLDLY


@pytest.mark.parametrize("path", sources("domain"), ids=name)
def test_the_domain_asks_no_clock_and_throws_no_dice(path: Path) -> None:
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }

    assert not called & CLOCKS


def test_the_linter_agrees() -> None:
    linter = Path(sys.executable).parent / "lint-imports"

    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_line_loads_no_web() -> None:
    """Whoever asks `daybook` for a balance should not wait for what a server needs."""
    loads = "import sys, api.cli; print(*{'fastapi', 'stripe', 'genai_prices'} & set(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", loads], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []


SQL_SCHEMA = ("CREATE SCHEMA", "SET search_path", "search_path=")


@pytest.mark.parametrize(
    "path", [p for p in sources(*ROOMS) if not name(p).startswith("adapters/postgres/")], ids=name
)
def test_only_the_postgres_adapter_names_a_schema(path: Path) -> None:
    text = path.read_text()

    assert not [word for word in SQL_SCHEMA if word in text]
