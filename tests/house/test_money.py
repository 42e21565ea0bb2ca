"""Floats appear nowhere near money; seconds are the only thing that may be one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.tree import ROOMS, name, sources, tree

# Names whose value is a time in seconds.
SECONDS = (
    "second", "patience", "timeout", "interval", "until", "deadline", "wait", "sleep", "pause",
    "poll", "due", "started", "_hot", "_S",
)  # fmt: skip
# Calls whose numbers are seconds.
WAITS = {
    "sleep", "wait", "wait_for", "timeout", "timedelta", "join", "call_later", "get", "select",
    "setswitchinterval",
}  # fmt: skip
# Lines where a float is neither money nor, by its name, seconds: file, what is on the line, why.
ALLOWED = (
    ("adapters/postgres/embedded.py", "signal.SIGQUIT, 10.0", "seconds, in a tuple"),
    ("api/auth.py", "_known: dict[bytes, tuple[Caller, float]]", "the second it was looked up"),
    ("api/metrics.py", "BUCKETS =", "seconds of a histogram"),
    ("api/paying/topup.py", '"amount_usd": 20.00', "a JSON number in the documentation"),
    ("api/usage.py", '_usd": ', "a JSON number in the documentation"),
    ("api/demo/workload.py", "draw.", "invented sizes and ages, in tokens and days"),
)


def is_allowed(path: str, line: str) -> bool:
    """Whether this line's float is on the list."""
    return any(path == file and part in line for file, part, _ in ALLOWED)


def floats(module: ast.Module) -> list[int]:
    """The lines on which a module uses a float that is not, by its name, seconds."""
    excused: set[int] = set()
    for node in ast.walk(module):
        named: list[ast.AST | None] = []
        if isinstance(node, ast.AnnAssign) and _is_time(node.target):
            named = [node.annotation, node.value]
        elif isinstance(node, ast.Assign) and all(_is_time(t) for t in node.targets):
            named = [node.value]
        elif isinstance(node, ast.arg) and _is_seconds(node.arg):
            named = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = list(_timely_defaults(node.args))
            if _is_seconds(node.name):
                named.append(node.returns)
        elif isinstance(node, ast.keyword) and node.arg and _is_seconds(node.arg):
            named = [node.value]
        elif isinstance(node, ast.Call) and _called(node) in WAITS:
            named = list(node.args)
        for part in named:
            if part is not None:
                excused |= {id(inner) for inner in ast.walk(part)}
    return [
        node.lineno
        for node in ast.walk(module)
        if id(node) not in excused
        and (
            (isinstance(node, ast.Constant) and isinstance(node.value, float))
            or (isinstance(node, ast.Name) and node.id == "float")
        )
    ]


def _is_seconds(word: str) -> bool:
    return any(part in word if part.isupper() else part in word.lower() for part in SECONDS)


def _is_time(target: ast.AST) -> bool:
    if isinstance(target, ast.Name):
        return _is_seconds(target.id)
    return isinstance(target, ast.Attribute) and _is_seconds(target.attr)


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _timely_defaults(args: ast.arguments) -> list[ast.expr]:
    positional = [*args.posonlyargs, *args.args]
    pairs = [
        *zip(positional[len(positional) - len(args.defaults) :], args.defaults, strict=True),
        *zip(args.kwonlyargs, args.kw_defaults, strict=True),
    ]
    return [default for arg, default in pairs if default is not None and _is_seconds(arg.arg)]


@pytest.mark.parametrize("path", sources(*ROOMS), ids=name)
def test_no_float_comes_near_money(path: Path) -> None:
    lines = path.read_text().splitlines()

    found = [lines[number - 1].strip() for number in floats(tree(path))]
    assert [line for line in found if not is_allowed(name(path), line)] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("price = 0.1", 1),
        ("def f(amount: float) -> int: ...", 1),
        ("amount = float(text)", 1),
        ("x = a * 1e6", 1),
        ("patience = 0.5", 0),
        ("PATIENCE_S: float = 2.0", 0),
        ("def f(*, timeout: float = 1.5) -> int: ...", 0),
        ("await asyncio.sleep(0.05)", 0),
        ("x = 1_000_000", 0),
    ],
)
def test_a_float_is_found_where_it_is_no_time(line: str, found: int) -> None:
    assert len(floats(ast.parse(line))) == found
