"""The chain of hashes over the book, and the checkpoints that are signed and given away."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import msgspec

GENESIS = bytes(32)
"""What the first event is chained to."""


def linked(chain_hash: bytes, event_hash: bytes) -> bytes:
    """The chain's hash behind one more event: SHA-256(the hash before it ‖ the event's)."""
    return sha256(chain_hash + event_hash).digest()


class Checkpoint(msgspec.Struct, frozen=True):
    """What the chain was at a position, and when that was said; signed with Ed25519."""

    position: int  # of the last event that it covers
    chain_hash: bytes
    at: datetime  # UTC
    key_id: str = ""
    signature: bytes = b""

    @property
    def message(self) -> bytes:
        """What is signed: RFC 8785 canonical JSON of at, chain_hash and position."""
        text = '{{"at":"{}","chain_hash":"{}","position":{}}}'
        return text.format(self.stamp, self.chain_hash.hex(), self.position).encode()

    @property
    def stamp(self) -> str:
        """``at`` as it is signed: always with six digits of the second, and Z."""
        return f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
