"""Progress of a run on stderr: a bar on a terminal, elsewhere a line now and then."""

import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from dlerse_jax.runtime.atomic_files import is_writer

SECONDS_BETWEEN_LINES = 10.0
NUM_SHOWN_METRICS = 3


def silent(_: str) -> None:
    """Says nothing: for quiet runs and other processes."""


def teller(name: str, *, quiet: bool) -> Callable[[str], None]:
    """A function that says on stderr which step a run is at; `silent` if quiet.

    Of several processes of one run, one alone speaks.
    """
    if quiet or not is_writer():
        return silent
    console = Console(stderr=True)
    return lambda step: console.out(f"{name}  {step}", highlight=False)


class ProgressLine:
    """The progress of one run: what was measured last, steps per second, time left."""

    def __init__(self, name: str, start_step: int, total_steps: int) -> None:
        self._name = name
        self._start_step = start_step
        self._total_steps = total_steps
        self._start_time = time.monotonic()
        self._last_time = -math.inf
        self._console = Console(stderr=True)
        self._bar = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[status]}", markup=False),
                console=self._console,
            )
            self._task = self._bar.add_task(
                name, completed=start_step, total=total_steps, status=""
            )
            self._bar.start()

    def show(self, step: int, numbers: Mapping[str, float]) -> None:
        seconds = max(time.monotonic() - self._start_time, 1e-9)
        rate = (step - self._start_step) / seconds
        shown = [
            f"{name.rpartition('/')[2]} {number:.3g}"
            for name, number in list(numbers.items())[:NUM_SHOWN_METRICS]
        ]
        status = "  ".join([f"{rate:.3g} steps/s", *shown])
        if self._bar:
            self._bar.update(self._task, completed=step, status=status)
        else:
            self._show_line(step, rate, status)

    def _show_line(self, step: int, rate: float, status: str) -> None:
        now = time.monotonic()
        done = step >= self._total_steps
        if now - self._last_time < SECONDS_BETWEEN_LINES and not done:
            return
        self._last_time = now
        remaining = (self._total_steps - step) / rate if rate > 0 else 0.0
        eta = timedelta(seconds=round(remaining))
        place = f"{self._name}  {step}/{self._total_steps}  eta {eta}"
        self._console.out(f"{place}  {status}", highlight=False)

    def tell(self, step: str) -> None:
        """Says which step a run is at, beside its updates."""
        self._console.out(f"{self._name}  {step}", highlight=False)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
