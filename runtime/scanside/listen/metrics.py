"""What the node counts, for Prometheus on the loopback address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from scanside.listen.ports import port_errors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Metrics"]


class Metrics:
    """The counters of one node."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.received: Final = Counter(
            "scanside_objects_received", "Objects acknowledged", ["as_what"], registry=registry
        )
        self.refused: Final = Counter(
            "scanside_objects_refused", "Objects refused", ["status"], registry=registry
        )
        self.rejected: Final = Counter(
            "scanside_associations_rejected", "Associations rejected", registry=registry
        )
        self.aborted: Final = Counter(
            "scanside_associations_aborted", "Associations aborted", registry=registry
        )
        self.acknowledged: Final = Histogram(
            "scanside_acknowledge_seconds",
            "From the last byte of an object to its acknowledgement",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
            registry=registry,
        )
        self.analysed: Final = Histogram(
            "scanside_analysis_seconds",
            "From the claim of a study to its encoded result",
            buckets=(0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
            registry=registry,
        )
        self.first_result: Final = Histogram(
            "scanside_first_result_seconds",
            "From the last object of a study to the first delivery of its result",
            buckets=(5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
            registry=registry,
        )
        self.results: Final = Counter(
            "scanside_results", "Results made", ["outcome"], registry=registry
        )
        self.deliveries: Final = Counter(
            "scanside_deliveries", "Tries of delivery", ["destination", "outcome"],
            registry=registry,
        )  # fmt: skip

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is asked for when it is read."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def serve(self, port: int) -> Callable[[], None]:
        """Open the endpoint on 127.0.0.1; return what closes it.

        Raises
        ------
        OutputError
            If the port can't be opened.
        """
        server: Any
        with port_errors("127.0.0.1", port, "monitoring.port"):
            server, thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close
