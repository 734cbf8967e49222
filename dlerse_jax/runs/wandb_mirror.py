"""The W&B run that mirrors a log: it may fail, the run may not."""

import collections
import logging
import netrc
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.runtime.messages import one_line

_logger = logging.getLogger(__name__)


class WandbMirror:
    """A W&B run under the id kept in the workdir; it may fail, the run may not.

    One thread does all calls of W&B, in order, whatever number of runs there are:
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
        self._run: Any = None  # wandb.Run, once it has started
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
            self._told.popleft().result()
        self._told.append(self._thread.submit(self._do, do, *arguments))

    def _wait(self) -> None:
        while self._told:
            self._told.popleft().result()

    # --- in the thread --------------------------------------------------------------

    def _do(self, do: Callable[..., None], *arguments: Any) -> None:
        """Does it if there still is a run; whatever fails ends the mirror alone.

        W&B raises of every kind: its own errors, those of its settings (pydantic), of
        its service, of a home directory that is not there.
        """
        if not self._may_go_on:
            return
        try:
            do(*arguments)
        except Exception as error:
            self._may_go_on = False
            cause = one_line(error)
            _logger.warning("W&B is off for the rest of this run: %s", cause)
            _logger.debug("W&B failed", exc_info=True)

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
