"""Numbers of the running server, for Prometheus and for the operator's page."""

import functools
import time
from collections import deque
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from dlerse_jax.server.drift import PageHinkley

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1, 5)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
RECENT = 2048  # requests that the operator's page takes percentiles of


class ServerMetrics:
    """Counts and times of one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.started = time.time()
        self.drift = PageHinkley()
        self._of_route = functools.cache(self._route_numbers)
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._by_second: deque[list[int]] = deque(maxlen=60)  # [second, requests]
        self._requests = Counter(
            "dlerse_requests", "Requests", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "dlerse_request_seconds",
            "Time to the answer",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "dlerse_batch_size",
            "Questions in a compiled call",
            buckets=BATCHES,
            registry=registry,
        )
        self._answers = Counter(
            "dlerse_answers", "Answers to items shown", ["liked"], registry=registry
        )
        self._shown = Counter("dlerse_items_shown", "Items shown", registry=registry)
        self._no_chances = Counter(
            "dlerse_lists_without_chances",
            "Lists whose chances of a like were no numbers",
            registry=registry,
        )
        self._reloads = Counter(
            "dlerse_reloads", "Models loaded", ["outcome"], registry=registry
        )
        self._model = Gauge(
            "dlerse_model", "1 at the model in use", ["digest"], registry=registry
        )
        self._sessions = Gauge("dlerse_sessions", "Sessions kept", registry=registry)
        self._drift = Gauge(
            "dlerse_drift_alarm", "1: the share of likes has fallen", registry=registry
        )

    def _route_numbers(self, route: str, status: int) -> tuple[Any, Any]:
        return self._requests.labels(route, str(status)), self._seconds.labels(route)

    def request(self, route: str, status: int, seconds: float) -> None:
        count, times = self._of_route(route, status)
        count.inc()
        times.observe(seconds)
        self._recent.append(seconds)
        now = int(time.time())
        if not self._by_second or self._by_second[-1][0] != now:
            self._by_second.append([now, 0])
        self._by_second[-1][1] += 1

    def batch(self, size: int) -> None:
        self._batch.observe(size)

    def shown(self, count: int) -> None:
        self._shown.inc(count)

    def no_chance(self) -> None:
        self._no_chances.inc()

    def answer(self, liked: bool) -> None:
        self._answers.labels(str(liked).lower()).inc()
        self.drift.hear(liked)
        self._drift.set(self.drift.alarm)

    def reload(self, outcome: str) -> None:
        """outcome: loaded, refused or unchanged."""
        self._reloads.labels(outcome).inc()

    def model(self, digest: str) -> None:
        """The model in use from now on, whose likes are judged anew."""
        self._model.clear()
        self._model.labels(digest).set(1)
        self.drift.reset()
        self._drift.set(0)

    def sessions(self, count: int) -> None:
        self._sessions.set(count)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def overview(self) -> dict[str, Any]:
        """What the operator's page shows of this process."""
        now = time.time()
        recent = sorted(self._recent)
        last_minute = sum(count for then, count in self._by_second if now - then < 60)
        return {
            "up_seconds": round(now - self.started, 1),
            "requests_last_minute": last_minute,
            "p50_ms": _percentile(recent, 0.50),
            "p99_ms": _percentile(recent, 0.99),
            "answers_judged": self.drift.count,
            "share_of_likes": round(self.drift.mean, 4) if self.drift.count else None,
            "drift_alarm": self.drift.alarm,
        }


def _percentile(ordered: list[float], share: float) -> float | None:
    """In milliseconds; None of nothing."""
    if not ordered:
        return None
    return round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 3)
