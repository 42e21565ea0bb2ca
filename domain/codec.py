"""Facts to stored events and back: JSON in the column, a topic that names the type.

A topic is `domain:Debited`: a fact keeps its name for ever, but not the file in which it is
written. Topics of before, which name a module of the domain as well, are read too.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from eventsourcing.utils import TopicError

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import PlanCatalogue
from domain.catalogue.price_book import PriceBook
from domain.contract.subscription import Subscription
from domain.facts import Aggregate, Fact, Recorded
from domain.invoice.invoice import Invoice
from domain.payment.attempt import PaymentAttempt
from domain.workspace.workspace import Workspace

AGGREGATES: tuple[type[Aggregate], ...] = (
    *(CreditAccount, Subscription, Workspace, PaymentAttempt, Invoice),
    *(PlanCatalogue, PriceBook),
)
KINDS: dict[str, type[Fact]] = {
    fact.__name__: fact for aggregate in AGGREGATES for fact in aggregate.facts
}
"""Every type of fact, by its name."""


_encode = msgspec.json.Encoder().encode
_decoders: dict[str, msgspec.json.Decoder[Any]] = {}


def kind_of(topic: str) -> type[Fact]:
    """The type of fact that a topic names.

    :raises eventsourcing.utils.TopicError: nothing in this code base is called so.
    """
    module, _, name = topic.partition(":")
    kind = KINDS.get(name) if module.partition(".")[0] == "domain" else None
    if kind is None:
        raise TopicError(f"no fact is called {topic!r}")
    return kind


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
        decoder = _decoders[topic] = msgspec.json.Decoder(kind_of(topic))
    fact: Fact = decoder.decode(state)
    return fact


def prepare() -> None:
    """Make the decoders of all facts, and of the states that snapshots keep; to be called before
    a process has threads that decode.

    A type that one thread prepares is seen half made by another that prepares it too: msgspec
    then reads what is not there, and the process dies of it.
    """
    for fact in KINDS.values():
        _decoders.setdefault(fact.TOPIC, msgspec.json.Decoder(fact))
    for aggregate in AGGREGATES:
        msgspec.json.Decoder(aggregate)


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
            topic=domain_event.fact.TOPIC,
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
