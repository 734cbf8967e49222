"""An hour of a server at a steady rate: memory, latencies and errors, minute by minute.

`benchmarks/server.py RUN --soak=3600 --rate=200` calls this. Requests have their time,
and latency is counted from it, so that a server that falls behind shows it. A tenth of
them are lists, the others answers of sessions of twenty. The file is written anew every
minute: an hour that is cut short has still said something.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LISTS = 0.1  # share of requests
PERIOD = 600.0  # seconds that percentiles are of
SETTLED = 1200.0  # seconds until caches are full; the slope is of what comes later
STUDENT = 2.0  # of a 95 % interval, about


class Soak:
    """What was measured so far, and where it is written."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path, self._about = path, about
        self._began = time.time()
        self._times: list[float] = []
        self.requests, self.errors, self.first_error = 0, 0, ""
        self._memory: list[tuple[float, float]] = []  # seconds, MiB
        self._periods: list[dict[str, float]] = []

    def request(self, seconds: float) -> None:
        self.requests += 1
        self._times.append(1000 * seconds)

    def error(self, error: Exception) -> None:
        self.errors += 1
        self.first_error = self.first_error or repr(error)

    def minute(self, memory_mib: float, cpu_seconds: float) -> None:
        """Notes the server's memory and writes the file."""
        passed = time.time() - self._began
        self._memory.append((round(passed, 1), round(memory_mib, 1)))
        if passed >= PERIOD * (len(self._periods) + 1):
            self._periods.append(percentiles(self._times))
            self._times.clear()
        content = self._about | {
            "seconds": round(passed, 1),
            "requests": self.requests,
            "errors": self.errors,
            "first_error": self.first_error,
            "requests_per_cpu_second": round(self.requests / max(cpu_seconds, 1e-9)),
            "memory_mib": self._memory,
            "slope_mib_per_hour": slope(self._memory),
            "ten_minutes": self._periods,
            "since_then": percentiles(self._times),
        }
        self._path.write_text(json.dumps(content, indent=1) + "\n")


def percentiles(times: list[float]) -> dict[str, float]:
    """In milliseconds."""
    if not times:
        return {"requests": 0}
    found = np.percentile(times, [50, 99])
    return {
        "requests": len(times),
        "p50_ms": round(float(found[0]), 2),
        "p99_ms": round(float(found[1]), 2),
    }


def slope(memory: list[tuple[float, float]]) -> dict[str, float] | None:
    """Least squares after the caches are full, with a 95 % interval; MiB an hour."""
    settled = [(at / 3600, mib) for at, mib in memory if at >= SETTLED]
    if len(settled) < 4:
        return None
    hours, mib = np.array(settled).T
    hours = hours - hours.mean()
    value = float(hours @ mib / (hours @ hours))
    rest = mib - mib.mean() - value * hours
    error = float(np.sqrt(rest @ rest / (len(mib) - 2) / (hours @ hours)))
    low, high = value - STUDENT * error, value + STUDENT * error
    return {"value": round(value, 2), "low": round(low, 2), "high": round(high, 2)}


async def soak(
    found: Soak,
    connections: list,
    *,
    rate: float,
    seconds: float,
    next_request: Callable[[Any, int], Any],
    measure: Callable[[], tuple[float, float]],
) -> None:
    """Asks `rate` times a second over some connections, for some seconds.

    next_request: (connection, how many it has made) -> the request as a coroutine;
    measure: the server's memory in MiB and CPU seconds since the beginning.
    """
    loop, step = asyncio.get_running_loop(), len(connections) / rate
    began = loop.time()

    async def client(place: int) -> None:
        due, count = began + place * step / len(connections), 0
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            try:
                await next_request(connections[place], count)
                found.request(loop.time() - due)
            except (OSError, EOFError, RuntimeError) as error:
                found.error(error)
            due, count = due + step, count + 1

    async def watch() -> None:
        while True:
            await asyncio.sleep(60)
            found.minute(*measure())

    watching = asyncio.create_task(watch())
    await asyncio.gather(*map(client, range(len(connections))))
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    found.minute(*measure())
