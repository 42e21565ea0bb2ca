"""The ledger as an application of the `eventsourcing` library: for auditors' replays and for
tools that know the library. It reads and writes the book that the writer writes."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from eventsourcing.application import Application, Repository
from eventsourcing.persistence import (
    AggregateRecorder,
    InfrastructureFactory,
    Mapper,
    NotSupportedError,
    ProcessRecorder,
)
from eventsourcing.utils import Environment

from adapters.postgres.recorder import CellDatastore, EventRecorder
from domain.codec import FactMapper
from domain.facts import project


class LedgerFactory(InfrastructureFactory[Any]):
    """What the library builds its application from: one pool and one recorder."""

    def __init__(self, env: Environment, conninfo: str) -> None:
        super().__init__(env)
        self.datastore = CellDatastore(conninfo)

    def application_recorder(self) -> EventRecorder:
        """The book; its table must be there already."""
        recorder = EventRecorder(self.datastore)
        recorder.create_table()
        return recorder

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Not offered: snapshots are the writer's short cut, and an audit takes none."""
        raise NotSupportedError(f"no recorder for {purpose}")

    def tracking_recorder(self, tracking_recorder_class: type[Any] | None = None) -> Any:
        """Not offered: read models keep their own positions."""
        raise NotSupportedError("no tracking recorder")

    def process_recorder(self) -> ProcessRecorder:
        """Not offered: read models keep their own positions."""
        raise NotSupportedError("no process recorder")

    def close(self) -> None:
        """Close every connection."""
        self.datastore.close()


class LedgerRepository(Repository[UUID]):
    """Rebuilds aggregates from the beginning with our own fold, unless told another."""

    def get(self, aggregate_id: UUID, **options: Any) -> Any:
        """The aggregate, at its last or a given ``version``.

        :raises eventsourcing.application.AggregateNotFoundError: nothing is recorded there.
        """
        options.setdefault("projector_func", project)
        return super().get(aggregate_id, **options)


class LedgerApplication(Application[UUID]):
    """Repository, `save` and notification log over the book at ``conninfo``.

    `save` is not repeated when its answer is lost: look for the cause before asking again. The
    way to charge is the writer; this one commits one call at a time.
    """

    name = "ledger"
    log_section_size = 1_000

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        super().__init__()

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Our own factory, whatever the environment says."""
        return cast("InfrastructureFactory[Any]", LedgerFactory(env, self._conninfo))

    def construct_mapper(self) -> Mapper[UUID]:
        """JSON in the column, never compressed or encrypted."""
        return FactMapper()

    def construct_repository(self) -> Repository[UUID]:
        """No cache and no snapshots: what it answers is what the events say."""
        return LedgerRepository(event_store=self.events)
