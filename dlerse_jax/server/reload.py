"""A new model beside the old one: loaded, compiled, checked, and only then in use."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from dlerse_jax.runtime.messages import one_line
from dlerse_jax.server.core import Core
from dlerse_jax.server.errors import ApiError, conflict
from dlerse_jax.server.ranking import Model
from dlerse_jax.server.threads import load_aside

LOG = logging.getLogger(__name__)
LoadFn = Callable[[], Model]


class Reloader:
    """Loads models for a `Core`. load: reads, compiles and checks one, in a thread."""

    def __init__(self, core: Core, load: LoadFn, run: Path | None = None) -> None:
        """run: the folder that `watch` looks at."""
        self._core, self._load, self._run = core, load, run
        self._lock = asyncio.Lock()
        self._seen: object = None
        self.problem = ""  # why the last model was refused

    async def reload(self) -> tuple[Model, bool, float]:
        """The model in use now, whether it is another one, seconds that it took.

        409 while another is being loaded; 422 where the new one cannot be used, and
        then the old one serves on.
        """
        if self._lock.locked():
            raise conflict("a model is being loaded already")
        async with self._lock:
            began, core = time.perf_counter(), self._core
            self._seen = stamp(self._run)
            try:
                model = await load_aside(self._load)
            except Exception as error:
                core.metrics.reload("refused")
                self.problem = one_line(error)
                LOG.error("model refused: %r", self.problem)
                raise ApiError(422, f"model not used: {self.problem}") from error
            changed = not core.is_ready or core.model.digest != model.digest
            if changed:
                await core.use(model)
            core.metrics.reload("loaded" if changed else "unchanged")
            self.problem = ""
            return core.model, changed, time.perf_counter() - began

    async def watch(self, seconds: float) -> None:
        """Reloads whenever the run's folder has changed and is still again."""
        while True:
            before = stamp(self._run)
            await asyncio.sleep(seconds)
            if before != self._seen and before == stamp(self._run):
                with contextlib.suppress(ApiError):  # logged, and on the admin page
                    await self.reload()


def stamp(run: Path | None) -> object:
    """Changes when the run's files do, or when a link points to another run."""
    if run is None:
        return None
    found = run.resolve()
    names = ("summary.json", "config.json", "checkpoints")
    return str(found), tuple(
        (name, (found / name).stat().st_mtime_ns)
        for name in names
        if (found / name).exists()
    )
