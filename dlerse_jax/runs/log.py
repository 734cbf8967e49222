"""The log of a run: what it measured, step by step, on disk, on screen and on W&B.

Lines of `metrics.jsonl` are always written and are the truth; a W&B run mirrors them,
and a progress line shows them. A resumed run takes its log up at its
checkpoint, as if it had never stopped; each checkpoint has the log up to its step.

    {"step": 50, "wall_seconds": 12.3, "train/td_error": 0.41, "eval/reward": -0.3,
     "time/update_seconds": 4.1, "time/validation_seconds": 0.2}
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.checkpoint import LOG_NAME
from dlerse_jax.runs.progress import ProgressLine
from dlerse_jax.runs.wandb_mirror import WandbMirror
from dlerse_jax.runtime.atomic_files import (
    clear_disk_errors,
    is_writer,
    write_atomically,
)

_logger = logging.getLogger(__name__)


def read_metrics(workdir: str | Path) -> list[dict[str, Any]]:
    """Lines of the run's log, oldest first; [] when it has none.

    A number that was not finite is None. A last line that a kill cut short is left out.
    ValueError names the first line that no run logs: not a step with its numbers, or
    not the step that follows (lines are equally many updates apart).
    """
    path = Path(workdir) / LOG_NAME
    return _parse(path.read_bytes(), path) if path.exists() else []


def seconds_of(lines: Iterable[Mapping[str, Any]], what: str) -> float:
    """What all lines of a log say of one kind of work: "update" or "validation"."""
    name = f"time/{what}_seconds"
    return round(sum(line.get(name) or 0.0 for line in lines), 3)


def without_clocks(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line's numbers that no clock measured: two equal runs have the same."""
    return {
        name: number
        for name, number in line.items()
        if name != "wall_seconds" and not name.startswith("time/")
    }


def _parse(content: bytes, path: Path) -> list[dict[str, Any]]:
    *whole, last = content.split(b"\n")
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(whole, start=1):
        line = _parse_line(text)
        problem = _problem(lines, line)
        if line is None or problem:
            raise ValueError(
                f"{path}, line {number}: {problem}; the same `dlerse train` command "
                "repairs the log from its newest checkpoint"
            )
        lines.append(line)
    line = _parse_line(last)  # none after a clean end
    return lines if line is None or _problem(lines, line) else [*lines, line]


def _parse_line(text: bytes) -> dict[str, Any] | None:
    """The line as it was logged; None for anything else."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    numbers = [value for value in line.values() if value is not None]
    has_numbers = all(type(value) in (int, float) for value in numbers)
    return line if has_numbers and line.get("wall_seconds") is not None else None


def _problem(lines: list[dict], line: dict[str, Any] | None) -> str:
    """Why `line` cannot follow the lines before it; "" where it can."""
    if line is None:
        return "not a line of a log"
    step, steps = line["step"], [former["step"] for former in lines[-2:]]
    if steps and step <= steps[-1]:
        return f"update {step} after update {steps[-1]}"
    if len(steps) == 2 and step - steps[1] != steps[1] - steps[0]:
        return f"update {step} after {steps[0]} and {steps[1]}: lines are missing"
    return ""


def _lines_until(workdir: str | Path, step: int) -> list[dict[str, Any]]:
    """The log up to a checkpoint, as it was then; a damaged one is restored from there.

    Without a checkpoint that has it, what the file says; ValueError if damaged.
    """
    if step == 0:
        return []
    path, stored = Path(workdir) / LOG_NAME, checkpoint.stored_log(workdir, step)
    if stored is None:
        return [line for line in read_metrics(workdir) if line["step"] <= step]
    if not path.exists() or not path.read_bytes().startswith(stored):
        _logger.warning(
            "%s is not what was logged up to update %d: restored from the checkpoint",
            path,
            step,
        )
    return _parse(stored, path)


class RunLog:
    """Where a run says what it measured; a context manager.

    `start_step` is the step of the checkpoint that the run resumes from, and later
    lines of the log are dropped; 0 begins an empty log. Log a step before saving it.
    `total_steps` is where the progress bar ends; `wandb_project` None leaves W&B out.
    OSError, one line, on a full disk. Of several processes one alone writes.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        config: Mapping[str, Any],
        name: str,
        group: str | None,
        wandb_project: str | None,
        start_step: int,
        total_steps: int,
        quiet: bool,
    ) -> None:
        self._path = Path(workdir) / LOG_NAME
        kept = _lines_until(workdir, start_step)
        content = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self._path, content.encode())
        self._former_seconds = kept[-1]["wall_seconds"] if kept else 0.0
        self._start_time = time.monotonic()
        writes = is_writer()
        self._file = (self._path if writes else Path(os.devnull)).open("a")
        self._mirror = (
            WandbMirror(workdir, config, wandb_project, name, group)
            if wandb_project and writes
            else None
        )
        self._failed = False
        is_shown = writes and not quiet
        self._progress = (
            ProgressLine(name, start_step, total_steps) if is_shown else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._progress:
            self._progress.close()
        if self._mirror:
            self._mirror.finish(failed=self._failed or kind is not None)
        # Last, as a line that found no room is tried again here, and may fail again.
        with clear_disk_errors(self._path):
            self._file.close()

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes one line of `area/quantity: number`; each value is one number."""
        numbers = {name: float(value) for name, value in metrics.items()}
        seconds = self._former_seconds + time.monotonic() - self._start_time
        line = {"step": step, "wall_seconds": round(seconds, 3)} | {
            name: number if math.isfinite(number) else None
            for name, number in numbers.items()
        }
        with clear_disk_errors(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        if self._mirror:
            self._mirror.log(step, numbers)
        if self._progress:
            self._progress.show(step, numbers)

    def tell(self, step: str) -> None:
        """Says on the screen which step the run is at, unless it is quiet."""
        if self._progress:
            self._progress.tell(step)

    @property
    def is_mirrored(self) -> bool:
        """Whether there is a W&B run that still takes what it is given."""
        return self._mirror is not None and self._mirror.is_live

    def fail(self) -> None:
        """Lets the W&B run close as failed, though no exception passes through here."""
        self._failed = True

    def log_table(self, name: str, columns: list[str], rows: list[list]) -> None:
        """Shows a table in the W&B run, where there is one."""
        if self._mirror:
            self._mirror.log_table(name, columns, rows)

    def log_artifact(self, kind: str, paths: Iterable[Path]) -> None:
        """Attaches files and folders to the W&B run, where there is one and are any."""
        paths = list(paths)
        if self._mirror and paths:
            self._mirror.log_artifact(kind, paths)
