"""Facts to stored events and back: JSON in the column, a topic that names the type."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from eventsourcing.utils import get_topic, resolve_topic

from domain.facts import Fact, Recorded, aggregate_class, kinds

_encode = msgspec.json.Encoder().encode
_decoders: dict[str, msgspec.json.Decoder[Any]] = {}
_topics: dict[type, str] = {}


def topic_of(kind: type[Fact]) -> str:
    """`module:Class`, as the library names topics."""
    topic = _topics.get(kind)
    if topic is None:
        topic = _topics[kind] = get_topic(kind)
    return topic


def encode_fact(fact: Fact) -> bytes:
    """Compact UTF-8 JSON; fields at their defaults are left out."""
    return _encode(fact)


def decode_fact(topic: str, state: bytes | memoryview) -> Fact:
    """The fact a topic and its JSON say.

    :raises eventsourcing.utils.TopicError: nothing in this code base is called so.
    :raises msgspec.DecodeError: the bytes are not what the type wrote.
    """
    decoder = _decoders.get(topic)
    if decoder is None:
        decoder = _decoders[topic] = msgspec.json.Decoder(resolve_topic(topic))
    fact: Fact = decoder.decode(state)
    return fact


def prepare() -> None:
    """Make the decoders of all facts, and of the states that snapshots keep; to be called before
    a process has threads that decode.

    A type that one thread prepares is seen half made by another that prepares it too: msgspec
    then reads what is not there, and the process dies of it.
    """
    for fact in kinds():
        _decoders.setdefault(topic_of(fact), msgspec.json.Decoder(fact))
        msgspec.json.Decoder(aggregate_class(fact))


class FactMapper(Mapper[UUID]):
    """The library's mapper over `Recorded` facts; compressor and cipher are not offered, so
    that an auditor can always read the column with plain SQL."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        assert isinstance(domain_event, Recorded)
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=topic_of(type(domain_event.fact)),
            state=encode_fact(domain_event.fact),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        assert isinstance(stored_event.originator_id, UUID)
        recorded: Any = Recorded(
            stored_event.originator_id,
            stored_event.originator_version,
            decode_fact(stored_event.topic, stored_event.state),
        )
        event: DomainEventProtocol[UUID] = recorded
        return event
