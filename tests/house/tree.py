"""The files of this repository, as the house rules look at them."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("domain", "projections", "adapters", "api")


def name(path: Path) -> str:
    """A file's name from the root."""
    return path.relative_to(ROOT).as_posix()


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is, or would be, in the repository; from the disk where git is not."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        skipped = {".git", ".venv", ".daybook", "__pycache__"}
        return tuple(
            path
            for path in sorted(ROOT.rglob("*"))
            if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
        )
    paths = (ROOT / entry for entry in listed.decode().split("\0") if entry)
    # A link counts wherever it leads: one to nowhere was committed once, and stopped a fresh clone.
    return tuple(path for path in paths if path.is_file() or path.is_symlink())


def sources(*rooms: str) -> list[Path]:
    """The Python files of these rooms."""
    return [
        path
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in rooms
    ]


def tree(path: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(path.read_text(), str(path))
