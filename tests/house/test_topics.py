"""Stored topics, in a file that is added to and never shrunk: events replay for ever.

To add new facts: ``python -m tests.house.test_topics``.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import domain
from domain.codec import kind_of
from domain.facts import Fact, aggregate_class

GOLDEN = Path(__file__).parent / "topics.txt"


for module in pkgutil.walk_packages(domain.__path__, "domain."):
    importlib.import_module(module.name)


def facts(kind: type[Any] = Fact) -> list[type[Fact]]:
    """Every fact type that the domain has."""
    below = [(sub, *facts(sub)) for sub in kind.__subclasses__()]
    return [f for each in below for f in each if f.__module__.startswith("domain.")]


def golden() -> list[str]:
    """Every topic that was ever stored."""
    return GOLDEN.read_text().split()


@pytest.mark.parametrize("topic", golden())
def test_what_was_stored_can_be_read_for_ever(topic: str) -> None:
    """A fact may move to another file, but its name is for ever."""
    kind = kind_of(topic)

    assert issubclass(kind, Fact)
    assert kind in aggregate_class(kind).facts


def test_every_topic_is_in_the_file() -> None:
    missing = {fact.TOPIC for fact in facts()} - set(golden())

    assert not missing, "add them: python -m tests.house.test_topics"


def test_the_file_is_sorted_and_names_each_topic_once() -> None:
    assert golden() == sorted(set(golden()))


def test_no_two_facts_share_a_kind() -> None:
    """The column `kind` holds the name after the colon; plain SQL tells facts apart by it."""
    names = [fact.__name__ for fact in facts()]

    assert len(set(names)) == len(names)


if __name__ == "__main__":
    known = set(golden()) if GOLDEN.exists() else set()
    GOLDEN.write_text("\n".join(sorted(known | {fact.TOPIC for fact in facts()})) + "\n")
