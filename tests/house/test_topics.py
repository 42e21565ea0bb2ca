"""Stored topics, in a file that is added to and never shrunk: events replay for ever.

To add new facts: ``python -m tests.house.test_topics``.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.utils import resolve_topic

import domain
from domain.codec import topic_of
from domain.facts import Fact, aggregate_class

GOLDEN = Path(__file__).parent / "topics.txt"


for module in pkgutil.iter_modules(domain.__path__):
    importlib.import_module(f"domain.{module.name}")


def facts(kind: type[Any] = Fact) -> list[type[Fact]]:
    """Every fact type that the domain has."""
    below = [(sub, *facts(sub)) for sub in kind.__subclasses__()]
    return [f for each in below for f in each if f.__module__.startswith("domain.")]


def golden() -> list[str]:
    """Every topic that was ever stored."""
    return GOLDEN.read_text().split()


@pytest.mark.parametrize("topic", golden())
def test_what_was_stored_can_be_read_for_ever(topic: str) -> None:
    """A renamed fact needs `register_topic` with its old topic."""
    kind = resolve_topic(topic)

    assert issubclass(kind, Fact)
    assert kind in aggregate_class(kind).facts


def test_every_topic_is_in_the_file() -> None:
    missing = {topic_of(fact) for fact in facts()} - set(golden())

    assert not missing, "add them: python -m tests.house.test_topics"


def test_the_file_is_sorted_and_names_each_topic_once() -> None:
    assert golden() == sorted(set(golden()))


def test_no_two_facts_share_a_kind() -> None:
    """The column `kind` holds the name after the colon; plain SQL tells facts apart by it."""
    kinds = [topic.partition(":")[2] for topic in golden()]

    assert len(set(kinds)) == len(kinds)


if __name__ == "__main__":
    known = set(golden()) if GOLDEN.exists() else set()
    GOLDEN.write_text("\n".join(sorted(known | {topic_of(fact) for fact in facts()})) + "\n")
