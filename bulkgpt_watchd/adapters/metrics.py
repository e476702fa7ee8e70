"""
Write metrics for Prometheus, and measure the calls to BulkGPT by standing before the API.

Numbers of the daemon itself come in as samples when somebody asks (core/figures.py says which there are); what only an
adapter sees, calls and commits, is measured here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from threading import Lock

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bulkgpt_watchd.core.errors import (
    Denied,
    LinkBroken,
    OutcomeUnknown,
    Refused,
    ReplyNotUnderstood,
    TaskNotKnown,
    Unavailable,
    WatchdError,
)
from bulkgpt_watchd.core.figures import FIGURES, Sample
from bulkgpt_watchd.core.ports import Api, Clock, Download, PassPoint, Upload
from bulkgpt_watchd.core.wire import TaskStatus

PREFIX = "bulkgpt_watchd_"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Source: Prometheus' text format, which every version of it reads."""

ENDPOINTS = ("submit", "status", "download")

TOLD_CODES = frozenset({401, 402, 403, 413, 429})
"""Codes of HTTP that mean something of their own to us; of others only the class is told."""

WITHOUT_CODE: tuple[tuple[type[WatchdError], str], ...] = (
    (OutcomeUnknown, "unanswered"),
    (Unavailable, "unreachable"),
    (ReplyNotUnderstood, "unreadable"),
    (TaskNotKnown, "unknown_task"),
    (LinkBroken, "broken_link"),
    (Denied, "refused"),
    (Refused, "refused"),
)
"""What is told where no code of HTTP says it: there was none, or it was 200 with an error inside."""

CODES = (
    *("2xx", "3xx", "4xx", "5xx", "other"),
    *map(str, sorted(TOLD_CODES)),
    *dict.fromkeys(word for _, word in WITHOUT_CODE),
)
"""What the label `code` may be; each is told from the start, so that the first of its kind is seen to rise."""

CALL_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""From a free question to `api.answer_timeout`."""

COMMIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
"""From a disk with a cache of its own to one that is failing."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter has a second series, with its age


class _Handed(Collector):
    """Give what was handed over last."""

    def __init__(self) -> None:
        self.samples: Iterable[Sample] = ()

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, figure in FIGURES.items():
            kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            families[name] = kind(PREFIX + name, figure.meaning, labels=figure.labels)
        for sample in self.samples:
            families[sample.figure].add_metric(sample.labels, sample.value)
        return iter(families.values())


class Meter:
    """
    Hold what is measured, and write it together with what is handed over.

    Shape: *now* tells the time in Unix seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.registry = registry = CollectorRegistry()
        self.is_writable = True
        self._now = now
        self._lock = Lock()
        self._handed = _Handed()
        registry.register(self._handed)
        self._calls = Counter(
            f"{PREFIX}api_requests", "Calls to BulkGPT by what came of them", ("endpoint", "code"), registry=registry
        )
        self._call_seconds = Histogram(
            f"{PREFIX}api_request_duration_seconds",
            "How long calls to BulkGPT took, without the wait for their turn",
            ("endpoint",),
            buckets=CALL_BUCKETS_S,
            registry=registry,
        )
        self._answered = Gauge(
            f"{PREFIX}api_last_success_timestamp_seconds",
            "When a call was last answered as it should be; 0: not since the start",
            ("endpoint",),
            registry=registry,
        )
        self._commit_seconds = Histogram(
            f"{PREFIX}state_commit_duration_seconds",
            "How long writing to the state took, failures included",
            buckets=COMMIT_BUCKETS_S,
            registry=registry,
        )
        for endpoint in ENDPOINTS:
            for code in CODES:
                self._calls.labels(endpoint, code)
            self._call_seconds.labels(endpoint)
            self._answered.labels(endpoint)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Measure one transaction; entered in the store's thread."""
        started_at, is_written = self._now(), False
        try:
            yield
            is_written = True
        finally:
            self._commit_seconds.observe(self._now() - started_at)
            self.is_writable = is_written

    def called(self, endpoint: str, seconds: float, error: BaseException | None) -> None:
        """Take note of one call."""
        code = code_of(error)
        if code is None:
            return
        self._calls.labels(endpoint, code).inc()
        self._call_seconds.labels(endpoint).observe(seconds)
        if code == "2xx":
            self._answered.labels(endpoint).set(self._now())

    def render(self, samples: Iterable[Sample]) -> bytes:
        """Write all in Prometheus' text format; it takes milliseconds, and may be called in any thread."""
        with self._lock:
            self._handed.samples = samples
            return generate_latest(self.registry)


def code_of(error: BaseException | None) -> str | None:
    """Class what came of a call; None: it was cut by us, or by a folder of ours, and says nothing about BulkGPT."""
    if error is None:
        return "2xx"
    status = getattr(error, "http_status", None)
    if status is None and isinstance(error, Refused):
        return None  # a duplicate, whose last block was held back, or a result that is no CSV
    if status is not None and not 200 <= status < 300:
        if status in TOLD_CODES:
            return str(status)
        return f"{status // 100}xx" if 300 <= status < 600 else "other"
    if status is not None and isinstance(error, OutcomeUnknown | Unavailable):
        return "unreadable"
    return next((word for kind, word in WITHOUT_CODE if isinstance(error, kind)), None)


class MeteredApi:
    """Be `core.ports.Api` by another one, and measure it."""

    def __init__(self, api: Api, meter: Meter, clock: Clock) -> None:
        self._api = api
        self._meter = meter
        self._clock = clock

    async def submit(self, upload: Upload, pass_point: PassPoint) -> str:
        held_s = 0.0

        async def timed() -> None:
            nonlocal held_s
            asked_at = self._clock.monotonic()
            try:
                await pass_point()
            finally:
                held_s = self._clock.monotonic() - asked_at

        with self._measured("submit", lambda: held_s):
            return await self._api.submit(upload, timed)

    async def status(self, task_id: str) -> TaskStatus:
        with self._measured("status"):
            return await self._api.status(task_id)

    def download(self, url: str) -> AbstractAsyncContextManager[Download]:
        return self._download(url)

    async def reload_key(self) -> bool:
        return await self._api.reload_key()

    @asynccontextmanager
    async def _download(self, url: str) -> AsyncIterator[Download]:
        with self._measured("download"):
            async with self._api.download(url) as answer:
                yield answer

    @contextmanager
    def _measured(self, endpoint: str, held_s: Callable[[], float] = lambda: 0.0) -> Iterator[None]:
        started_at = self._clock.monotonic()
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._meter.called(endpoint, self._clock.monotonic() - started_at - held_s(), error)
