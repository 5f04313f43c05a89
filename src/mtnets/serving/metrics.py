"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, beside those of no other in the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        common = {"registry": self.registry, "namespace": "mtnets"}
        self.requests = Counter("requests", "Requests that were answered", ("method", "route", "status"), **common)
        self.seconds = Histogram("request_seconds", "Until the answer", ("route",), buckets=SECONDS, **common)
        self.calls = Histogram("call_seconds", "Of one compiled call", ("kind",), buckets=SECONDS, **common)
        self.sizes = Histogram("call_size", "Requests of one compiled call", ("kind",), buckets=SIZES, **common)
        self.inside = Gauge("requests_inside", "Requests that wait or run", **common)
        self.tasks = Gauge("tasks", "Tasks that are kept", **common)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def call(self, kind: str, size: int, seconds: float) -> None:
        """Counts a compiled call."""
        self.calls.labels(kind).observe(seconds)
        self.sizes.labels(kind).observe(size)

    def text(self) -> bytes:
        """All of it, in the text format of Prometheus."""
        return generate_latest(self.registry)
