"""Files and functions stay small, what is public says what it promises, and nothing that is
tracked knows this machine."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.tree import ROOMS, ROOT, name, sources, tracked, tree

FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60
CODE = sources(*ROOMS, "tests", "scripts")
# Text that cannot be ours to shorten.
GENERATED = {"requirements.lock", "LICENSE"}
VENDORED = ("api/dashboard/static/",)
REGISTRIES = (
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("yarnpkg", ".com"),
    ("conda", ".anaconda.org"),
    ("ghcr", ".io"),
    ("docker", ".io"),
    ("artifact", "ory"),
)
PLACES = (("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), (".py", "env/"), ("/tmp/br", "ief"))


@pytest.mark.parametrize("path", CODE, ids=name)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX, "what is its second half called?"


@pytest.mark.parametrize("path", CODE, ids=name)
def test_a_function_fits_a_screen(path: Path) -> None:
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert long == []


def undocumented(module: ast.Module) -> list[str]:
    """What a module offers without saying what it promises."""
    found = [] if ast.get_docstring(module) or not module.body else ["the file itself"]

    def look(body: list[ast.stmt], prefix: str, inherits: bool) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    found.append(prefix + node.name)
                look(node.body, f"{prefix}{node.name}.", bool(node.bases))
            elif (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and not node.name.startswith("_")
                and not inherits  # What overrides promises what it overrides.
                and not ast.get_docstring(node)
            ):
                found.append(prefix + node.name)

    look(module.body, "", False)
    return found


@pytest.mark.parametrize("path", sources(*ROOMS), ids=name)
def test_what_is_public_says_what_it_promises(path: Path) -> None:
    assert undocumented(tree(path)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""A."""\ndef f(): ...', ["f"]),
        ('"""A."""\nclass A:\n    """B."""\n    def f(self): ...', ["A.f"]),
        ('"""A."""\nclass A: ...', ["A"]),
        ("x = 1", ["the file itself"]),
        ('"""A."""\ndef _f(): ...\nclass B(A):\n    """B."""\n    def f(self): ...', []),
    ],
)
def test_silence_is_noticed(source: str, found: list[str]) -> None:
    assert undocumented(ast.parse(source)) == found


def texts() -> list[Path]:
    """The tracked files that people wrote and that can be read."""
    return [
        path
        for path in tracked()
        if path.is_file()
        and name(path) not in GENERATED
        and not name(path).startswith(VENDORED)
        and b"\0" not in path.read_bytes()[:8_000]
    ]


@pytest.mark.parametrize("path", texts(), ids=name)
def test_no_file_knows_this_machine_or_a_registry(path: Path) -> None:
    text = path.read_text()

    assert [a + b for a, b in (*REGISTRIES, *PLACES) if a + b in text] == []


def test_the_lock_file_names_no_registry_either() -> None:
    text = (ROOT / "requirements.lock").read_text()

    assert [a + b for a, b in (*REGISTRIES, *PLACES) if a + b in text] == []


TOP = {
    "pyproject.toml", "README.md", "domain", "projections", "api", "adapters", "tests", "scripts",
    "LICENSE", "requirements.lock", ".ci", ".gitignore",
}  # fmt: skip


def test_the_top_level_is_the_given_one() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP


def test_no_file_is_a_link() -> None:
    assert [name(path) for path in tracked() if path.is_symlink()] == []
