"""Every way in which the domain says no has a name of its own and a status at the edge."""

from __future__ import annotations

import importlib.util

import pytest

from domain import errors
from domain.errors import Refusal


def refusals(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Every refusal below this one, those of other rooms left out."""
    return [
        found
        for sub in kind.__subclasses__()
        for found in (sub, *refusals(sub))
        if found.__module__.startswith("domain.")
    ]


def test_every_refusal_is_in_the_one_tree_and_drawn_at_its_top() -> None:
    drawn = errors.__doc__ or ""

    assert {found.__module__ for found in refusals()} == {"domain.errors"}
    assert [found.__name__ for found in refusals() if found.__name__ not in drawn] == []


@pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.__name__)
def test_every_refusal_says_which_rule_forbids_it(kind: type[Refusal]) -> None:
    assert kind.__doc__
    assert "code" in vars(kind) or kind.code != "refused"


def test_no_two_refusals_share_a_code() -> None:
    codes = [kind.code for kind in refusals() if "code" in vars(kind)]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.__name__)
def test_every_refusal_has_a_status_at_the_edge(kind: type[Refusal]) -> None:
    if importlib.util.find_spec("api.problems") is None:
        pytest.skip("api/problems.py is not written yet")
    from api import problems

    # A refusal may share its parent's status, but not the root's: that one is nobody's answer.
    assert any(base in problems.STATUS for base in kind.__mro__ if base is not Refusal)
