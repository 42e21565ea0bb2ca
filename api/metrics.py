"""What this process counts, for Prometheus. Labels never hold ids of tenants or keys."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapters.postgres.writer import Writer

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # seconds


class Metrics:
    """The counters of one application; each has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "daybook_http_requests",
            "Requests answered",
            ("route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "daybook_http_seconds", "Time to answer", registry=self.registry, buckets=BUCKETS
        )
        self.charges = Counter(
            "daybook_charges", "Usages by how they ended", ("outcome",), registry=self.registry
        )
        self.webhooks = Counter(
            "daybook_webhooks",
            "Events of Stripe by what became of them",
            ("disposition",),
            registry=self.registry,
        )
        self.open_webhooks = Gauge(
            "daybook_webhooks_open",
            "Events of Stripe that are not settled, and those of them that came 72 hours ago",
            ("disposition", "age"),
            registry=self.registry,
        )
        self.parked = Gauge(
            "daybook_reactions_parked",
            "Reactions to facts that failed and are tried again",
            registry=self.registry,
        )
        self.position = Gauge(
            "daybook_ledger_position", "The newest position", registry=self.registry
        )
        self.lag = Gauge(
            "daybook_projection_lag_positions",
            "How many positions a read model is behind",
            ("model",),
            registry=self.registry,
        )

        self.unchained = Gauge(
            "daybook_audit_lag_positions",
            "How many positions the audit trail is behind",
            registry=self.registry,
        )

    def watch(self, writer: Writer) -> None:
        """Show the writer's own figures too."""
        self.registry.register(_WriterFigures(writer))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _WriterFigures(Collector):
    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        writer = self._writer
        yield GaugeMetricFamily(
            "daybook_writer_waiting", "Commands not answered yet", value=writer.waiting
        )
        yield GaugeMetricFamily(
            "daybook_writer_running", "1 while commands are taken", value=int(writer.is_running)
        )
        yield CounterMetricFamily(
            "daybook_writer_batches", "Batches committed", value=writer.batches
        )
        yield CounterMetricFamily(
            "daybook_writer_conflicts", "Batches decided again", value=writer.conflicts
        )
