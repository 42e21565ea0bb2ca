"""Every way in which the domain says no has a name of its own and a status at the edge."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import domain
from domain.errors import Refusal

TREES = {
    name: importlib.import_module(name)
    for name in (module.name for module in pkgutil.walk_packages(domain.__path__, "domain."))
    if name.endswith("errors")
}


def refusals(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Every refusal below this one, those of other rooms left out."""
    return [
        found
        for sub in kind.__subclasses__()
        for found in (sub, *refusals(sub))
        if found.__module__.startswith("domain.")
    ]


def test_every_refusal_is_in_a_tree_and_drawn_at_its_top() -> None:
    drawn = {name: tree.__doc__ or "" for name, tree in TREES.items()}

    assert {found.__module__ for found in refusals()} <= set(TREES)
    assert [f.__name__ for f in refusals() if f.__name__ not in drawn[f.__module__]] == []


@pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.__name__)
def test_every_refusal_says_which_rule_forbids_it(kind: type[Refusal]) -> None:
    assert kind.__doc__
    assert "code" in vars(kind) or kind.code != "refused"


def test_no_two_refusals_share_a_code() -> None:
    codes = [kind.code for kind in refusals() if "code" in vars(kind)]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.__name__)
def test_every_refusal_has_a_status_at_the_edge(kind: type[Refusal]) -> None:
    from api import problems

    # A refusal may share its parent's status, but not the root's: that one is nobody's answer.
    assert any(base in problems.STATUS for base in kind.__mro__ if base is not Refusal)
