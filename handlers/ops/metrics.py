"""GET /metrics: counts and durations for Prometheus, kept by this application alone."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bus.events import TERMINAL
from bus.subscription import EventFilter
from handlers.http.access import KEY_NAME
from handlers.http.operation import Operation, Payload, operation_of
from handlers.http.refusal import Handler
from handlers.keys import BUS, EXECUTOR
from pipeline.scheduling.worker import WorkerInfo

log = logging.getLogger(__name__)

LAG_INTERVAL_S: Final = 0.25
MAILBOX_LIMIT: Final = 4096
_LAG_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_REQUEST_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """The application's registry and what is counted in it. Owned by the event loop."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counted_seq = 0  # of the newest event that ``tasks`` counts
        self.tasks = Counter(
            "focal_tasks", "Tasks that ended, by how.", ["status"], registry=self.registry
        )
        self.requests = Histogram(
            "focal_request_seconds",
            "From request to the end of its reply, by route.",
            ["method", "route", "status"],
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.key_requests = Counter(
            "focal_key_requests",
            "Requests by the name of their key.",
            ["key"],
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "focal_event_loop_lag_seconds",
            "How much later than asked the event loop runs a timer.",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        self._of_route: dict[tuple[str, str, int], Histogram] = {}  # bounded as the labels are
        ProcessCollector(registry=self.registry)
        for kind in TERMINAL:
            self.tasks.labels(_status(kind.type))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. ``route`` is a pattern, and ``method`` one of a few."""
        found = self._of_route.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, str(status))
            self._of_route[method, route, status] = found
        found.observe(seconds)

    def watch(self, app: web.Application) -> None:
        """Read queue and bus of ``app`` at every scrape."""
        self.registry.register(_Gauges(app))

    def render(self) -> bytes:
        """Everything as Prometheus text."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    """Values that other parts hold, read at every scrape."""

    def __init__(self, app: web.Application) -> None:
        executor, bus = app[EXECUTOR], app[BUS]
        self._executor = executor
        self._sources: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("focal_queue_tasks", "Tasks that wait.", lambda: executor.waiting_count),
            ("focal_running_tasks", "Tasks on a device.", lambda: len(executor.running())),
            ("focal_bus_events", "Number of the newest event.", lambda: bus.last_seq),
            ("focal_bus_subscribers", "Readers of the bus.", lambda: bus.subscribers),
        )

    def collect(self) -> Iterable[Metric]:
        for name, help_text, read in self._sources:
            yield GaugeMetricFamily(name, help_text, value=read())
        yield from _worker_metrics(self._executor.workers())


def _worker_metrics(workers: Iterable[WorkerInfo]) -> Iterable[Metric]:
    """Each worker by its id and node."""
    labels = ["worker", "node"]
    ready = GaugeMetricFamily("focal_worker_ready", "Can it make pictures?", labels=labels)
    busy = GaugeMetricFamily("focal_worker_tasks", "Tasks that it has.", labels=labels)
    memory = GaugeMetricFamily(
        "focal_worker_memory_bytes",
        "Resident memory of its process; 0: the server's own.",
        labels=labels,
    )
    models = GaugeMetricFamily("focal_worker_models", "Models that are loaded.", labels=labels)
    pictures = CounterMetricFamily("focal_worker_pictures", "Pictures made.", labels=labels)
    failures = CounterMetricFamily("focal_worker_failures", "Failures and losses.", labels=labels)
    for each in workers:
        values = [each.id, each.node]
        ready.add_metric(values, each.state == "ready" and not each.draining)
        busy.add_metric(values, len(each.tasks))
        memory.add_metric(values, each.memory_bytes)
        models.add_metric(values, len(each.models))
        pictures.add_metric(values, each.pictures)
        failures.add_metric(values, each.failures)
    return ready, busy, memory, models, pictures, failures


METRICS: Final = web.AppKey("metrics", Metrics)


@web.middleware
async def metrics_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Time every request by its route's pattern: paths would make labels without end."""
    started = time.perf_counter()
    response = await handler(request)
    if key := request.get(KEY_NAME, ""):
        request.app[METRICS].key_requests.labels(key).inc()
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "none"
    operation = operation_of(request.match_info.handler)
    if operation is None or not operation.is_stream:
        method = request.method if request.method in hdrs.METH_ALL else "other"
        seconds = time.perf_counter() - started
        request.app[METRICS].observe(method, route, response.status, seconds)
    return response


@Operation(
    name="metrics",
    tag="server",
    summary="Counts and durations for Prometheus",
    reply=Payload(media_types=("text/plain",)),
)
async def metrics(request: web.Request) -> web.Response:
    """The Prometheus exposition."""
    body = request.app[METRICS].render()
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


async def sample_lag(app: web.Application) -> None:
    """Observe how late the event loop runs a timer, again and again."""
    own = app[METRICS]
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        own.loop_lag.observe(max(0.0, loop.time() - due))


async def count_tasks(app: web.Application) -> None:
    """Count the terminal events on the bus, from where an earlier call left off."""
    own = app[METRICS]
    ends = EventFilter(types=frozenset(kind.type for kind in TERMINAL))
    with app[BUS].subscribe(ends, limit=MAILBOX_LIMIT, since=own.counted_seq) as subscription:
        async for event in subscription:
            own.counted_seq = event.seq
            if isinstance(event.data, TERMINAL):
                own.tasks.labels(_status(event.type)).inc()


def _status(event_type: str) -> str:
    return event_type.removeprefix("task.")
