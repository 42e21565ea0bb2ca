"""What verification believes that is not in the database: public keys, published checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from adapters import sealing
from adapters.sealing import PublicKeys
from adapters.settings import Sealing
from domain.chain import Checkpoint
from projections.verify import Progress, Verdict, verify


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that are believed, and the published file; None: nothing is published."""

    keys: PublicKeys
    file: Path | None

    @property
    def is_there(self) -> bool:
        """Whether there is a published file."""
        return self.file is not None and self.file.exists()

    def published(self) -> Iterator[Checkpoint | int] | None:
        """What the file holds, line by line; nothing where it is gone, None where none is kept."""
        if self.file is None:
            return None
        return sealing.published(self.file) if self.file.exists() else iter(())


def trust_of(
    settings: Sealing | None, public: Path | None = None, file: Path | None = None
) -> Trust:
    """What a deployment itself believes; ``public`` and ``file``: what to believe instead.

    :raises SealUnusable: the file of keys holds none.
    """
    if public is None and settings is not None:
        public = sealing.public_file(settings.key)
    if file is None and settings is not None:
        file = settings.file
    keys = sealing.public_keys(public) if public is not None else PublicKeys(())
    return Trust(keys, file)


def verified(
    conninfo: str, trust: Trust, stream: UUID | None = None, progress: Progress | None = None
) -> Verdict:
    """Verify on a connection of its own; see `projections.verify`."""
    connection: psycopg.Connection[Any]
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return verify(
            connection,
            trust.published(),
            trust.keys.complaint,
            stream=stream,
            progress=progress,
        )
