"""The log of a run: what it measured, step by step, on disk, on screen and on W&B.

In go a step and named numbers. Out come lines of `metrics.jsonl`, which are always
written and are the truth; a W&B run that mirrors them, and a progress line. A resumed
run takes its log up where its checkpoint stands, as if it had never stopped.

    {"step": 50, "wall_seconds": 12.3, "train/td_error": 0.41, "eval/reward": -0.3}
"""

import collections
import contextlib
import json
import logging
import math
import netrc
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from dlerse_jax.runtime.atomic_files import (
    clear_disk_errors,
    is_writer,
    write_atomically,
)

LOG_NAME = "metrics.jsonl"
SECONDS_BETWEEN_LINES = 10.0
NUM_SHOWN_METRICS = 3

_logger = logging.getLogger(__name__)


def read_metrics(workdir: str | Path) -> list[dict[str, Any]]:
    """Lines of the run's log, oldest first; [] when it has none.

    A number that was not finite is None. A line that a kill cut short is left out.
    """
    path = Path(workdir) / LOG_NAME
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(errors="replace").splitlines():
        # Only a cut line fails to parse: one write makes one line.
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


class RunLog:
    """Where a run says what it measured; a context manager.

    `start_step` is the step of the checkpoint that the run resumes from, and later
    lines of the log are dropped; 0 begins an empty log. So log a step before saving
    it. `total_steps` is where the progress bar ends; `wandb_project` None leaves W&B
    out. OSError, one line, on a full disk. Of several processes one alone writes.
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
        kept = [line for line in read_metrics(workdir) if line["step"] <= start_step]
        kept = kept if start_step > 0 else []
        content = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self._path, content.encode())
        self._former_seconds = kept[-1]["wall_seconds"] if kept else 0.0
        self._start_time = time.monotonic()
        writes = is_writer()
        self._file = (self._path if writes else Path(os.devnull)).open("a")
        self._mirror = (
            _WandbMirror(workdir, config, wandb_project, name, group)
            if wandb_project and writes
            else None
        )
        self._failed = False
        is_shown = writes and not quiet
        self._progress = (
            _ProgressLine(name, start_step, total_steps) if is_shown else None
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


class _WandbMirror:
    """A W&B run under the id kept in the workdir; it may fail, the run may not.

    One thread does all that W&B is told, in order, whatever number of runs there are:
    neither its start of a second nor a slow line holds training up.
    """

    _thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")

    def __init__(
        self,
        workdir: str | Path,
        config: Mapping[str, Any],
        project: str,
        name: str,
        group: str | None,
    ) -> None:
        self._run = None
        self._may_go_on = True
        self._told: collections.deque[Future[None]] = collections.deque()
        self._tell(self._start, workdir, dict(config), project, name, group)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._tell(lambda: self._run.log({"step": step, **numbers}))

    @property
    def is_live(self) -> bool:
        self._wait()
        return self._may_go_on

    def log_table(self, name: str, columns: list[str], rows: list[list]) -> None:
        self._tell(self._log_table, name, columns, rows)

    def log_artifact(self, kind: str, paths: Iterable[Path]) -> None:
        self._tell(self._log_artifact, kind, paths)

    def finish(self, *, failed: bool) -> None:
        self._tell(lambda: self._run.finish(exit_code=int(failed)))
        self._wait()

    def _tell(self, do: Callable[..., None], *arguments: Any) -> None:
        while self._told and self._told[0].done():
            self._told.popleft().result()  # raises all but a failure of W&B
        self._told.append(self._thread.submit(self._do, do, *arguments))

    def _wait(self) -> None:
        while self._told:
            self._told.popleft().result()

    # --- in the thread --------------------------------------------------------------

    def _do(self, do: Callable[..., None], *arguments: Any) -> None:
        """Does it if there still is a run; a failure of W&B ends the mirror alone."""
        import wandb
        from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

        if not self._may_go_on:
            return
        lost_service = (ConnectionError, HandleAbandonedError, MailboxClosedError)
        try:
            do(*arguments)
        except (wandb.Error, *lost_service) as error:
            self._may_go_on = False
            cause = " ".join((str(error) or type(error).__name__).split())
            _logger.warning("W&B is off for the rest of this run: %s", cause)

    def _start(
        self,
        workdir: str | Path,
        config: dict[str, Any],
        project: str,
        name: str,
        group: str | None,
    ) -> None:
        import wandb

        self._run = wandb.init(
            project=project,
            dir=str(workdir),
            id=_kept_id(Path(workdir) / "wandb_id.txt"),
            name=name,
            group=group,
            config=config,
            mode=_wandb_mode(wandb.Settings().base_url),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        # W&B drops a step that is not the latest; as a metric, it may come again.
        self._run.define_metric("*", step_metric="step")

    def _log_table(self, name: str, columns: list[str], rows: list[list]) -> None:
        import wandb

        self._run.log({name: wandb.Table(columns=columns, data=rows)})

    def _log_artifact(self, kind: str, paths: list[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"{kind}-{self._run.id}", type=kind)
        for path in paths:  # not add_dir, which says so on the terminal
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    name = file.relative_to(path.parent)
                    artifact.add_file(str(file), str(name))
        self._run.log_artifact(artifact)


def _kept_id(path: Path) -> str:
    """The W&B id of this workdir, so that a resumed run stays one run.

    One that a sweep agent of W&B started has the id that the agent waits for.
    """
    if not path.exists():
        by_agent = "WANDB_SWEEP_ID" in os.environ and os.environ.get("WANDB_RUN_ID")
        write_atomically(path, (by_agent or uuid.uuid4().hex[:12]).encode())
    return path.read_text()


def _wandb_mode(base_url: str) -> str | None:
    """None where WANDB_MODE decides; else online with a key, offline without."""
    if os.environ.get("WANDB_MODE"):
        return None
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        known_hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return "offline"
    hosts = {"api.wandb.ai", urlsplit(base_url).netloc}
    return "offline" if hosts.isdisjoint(known_hosts) else "online"


class _ProgressLine:
    """Where the run stands, on stderr: a bar on a terminal, elsewhere lines."""

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

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
