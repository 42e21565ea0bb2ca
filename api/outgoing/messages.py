"""Which endpoint gets which message about which fact. Pure: the same facts, the same messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from adapters.postgres.outbox import Listener, Message, Seen
from api.call import encode
from domain.outgoing import Notice, fallen, message_id, notices


def make_messages(seen: Sequence[Seen], listeners: Sequence[Listener]) -> Iterator[Message]:
    """Every message, in the order of the facts."""
    of: dict[str, list[Listener]] = {}
    for listener in listeners:
        of.setdefault(listener.workspace_id, []).append(listener)
    for fact in seen:
        for listener in of.get(fact.workspace_id, ()):
            if fact.position > listener.from_position:
                yield from _messages(fact, listener)


def _messages(seen: Seen, listener: Listener) -> Iterator[Message]:
    for notice in chain(notices(seen.fact), _fallen(seen, listener)):
        if listener.types and notice.type not in listener.types:
            continue
        # Endpoints may draw the line elsewhere: then it is another message.
        variant = str(listener.balance_low) if notice.type == "balance.low" else ""
        yield Message(
            listener.endpoint_id,
            message_id(seen.position, notice.type, variant),
            seen.position,
            notice.type,
            body_of(notice, seen.workspace_id, seen.position, seen.fact.recorded_at, seen.about),
            seen.fact.recorded_at,
        )


def _fallen(seen: Seen, listener: Listener) -> Iterator[Notice]:
    if seen.amount is not None and seen.balance_after is not None and seen.amount < 0:
        yield from fallen(seen.amount, seen.balance_after, listener.balance_low)


def body_of(
    notice: Notice, workspace_id: str, position: int, at: datetime, about: dict[str, Any]
) -> str:
    """A message as it is sent."""
    data = {"workspace_id": workspace_id, "position": position, **about, **notice.data}
    return encode({"type": notice.type, "timestamp": at, "data": data}).decode()
