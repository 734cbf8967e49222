"""Runs in training, several side by side: one compiled program moves all of them on.

`Run`s of one agent that differ in traced numbers alone (alpha, gamma, learning rates,
...) each keep their own directory, log and checkpoints, as if trained alone. A single
run is the case of one. Signals stop all of them where their states are saved; a run
that diverges is left behind, the others go on. No config key is read here.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.evaluation.evaluator import Evaluator, Result
from dlerse_jax.evaluation.protocols import Task
from dlerse_jax.experiment.early_stopping import (
    BestCheckpoint,
    Selection,
    asked,
    handed_over,
    selected_places,
    validate,
    with_best,
)
from dlerse_jax.learning.train_loop import (
    Programs,
    join_states,
    join_worlds,
    split_states,
)
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.directory import read_config, run_identity
from dlerse_jax.runtime import multihost, sharding
from dlerse_jax.runtime.beside import Once, beside
from dlerse_jax.runtime.signals import stop_requested
from dlerse_jax.types import Agent, Dataset, State


class StepLog(Protocol):
    """Where `train` logs each run: a `RunLog`, or what wraps one."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of a chunk or a validation, after so many updates."""


class Interrupted(Exception):
    """A signal ended the run; its state is saved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Periods:
    """Updates between two log lines, validations and checkpoints."""

    log: int  # one compiled program; the others are multiples of it
    validation: int
    checkpoint: int


@dataclasses.dataclass(kw_only=True, eq=False)
class Run:
    """What one run holds in hand: built from its config, moved on by `train`."""

    config: ConfigDict  # for `runner`, at the run's end
    workdir: Path
    dataset: Dataset
    task: Task  # what it is evaluated on; agent and world are built on its `known`
    world: Simulator
    agent: Agent
    roots: jax.Array  # [S] keys
    states: State  # on the devices of `world`
    best: BestCheckpoint | None  # evaluated; None: what `states` has is
    selection: Selection  # which validations `best` is chosen from, and by what
    lengths: dict[str, int]  # updates of each phase
    periods: Periods
    rate_keys: dict[str, str]  # phase -> config key of its learning rate, for errors
    programs: Programs  # shared, as the next two are, by runs of one program
    evaluator: Evaluator  # compiled at its first call
    final_evaluator: (
        Evaluator  # of the task's users: the same, or of all seeds together
    )
    # By name: result, and precision on validation users; runs of one program share it.
    baselines: Once
    identity: str  # of its evaluation programs; "" where they are not kept
    data_digest: str  # of the data set's content
    numbers: dict[str, tuple]  # phase -> the traced numbers that it reads
    step: int = 0  # updates done, both phases
    failure: str = ""  # why it cannot go on; "" while it can
    # Decisions per second of each validation; the first compiles.
    speeds: list[float] = dataclasses.field(default_factory=list)
    # What `train` does beside training, in this order.
    ahead: Sequence[Callable[[], object]] = ()
    # Of states and what is kept, as a checkpoint has them.
    shapes: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        mesh = self.world.mesh
        self.shapes = jax.eval_shape(lambda: (self.states, self.best))
        self._take((self.states, self.best))
        self.world = self.world.replace(alpha=sharding.place(mesh, self.world.alpha))

    @property
    def num_steps(self) -> int:
        return sum(self.lengths.values())

    @property
    def place(self) -> tuple[str, int, int]:
        """The phase of the next update, its number there and the phase's length."""
        first = 0
        for phase, length in self.lengths.items():
            if self.step < first + length:
                return phase, self.step - first, length
            first += length
        raise ValueError(f"{self.workdir}: all {self.num_steps} updates are done")

    @property
    def num_parameters(self) -> int:
        """Trained numbers of one seed; 0 for an agent that trains none."""
        params = jax.tree.leaves(getattr(self.shapes[0], "params", {}))
        return sum(leaf.size // leaf.shape[0] for leaf in params)

    @property
    def selected(self) -> list[dict] | None:
        """Phase and update of what each seed is evaluated with; None if untrained."""
        return selected_places(self.selection, self.best, len(self.roots))

    def evaluate(self, users: np.ndarray) -> Result:
        """Results on users [B] with the selected parameters of each seed."""
        states = with_best(self.agent, self.states, self.best)
        return self.final_evaluator(states, self.world, users, self.roots)

    def validate(self) -> dict[str, float]:
        """Evaluates on those who select, for the log, and updates the selection."""

        def play(states, users) -> Result:
            start = time.perf_counter()
            result = self.evaluator(states, self.world, users, self.roots)
            seconds = time.perf_counter() - start
            self.speeds.append(result.num_decisions / seconds)
            return result

        def evaluate(states) -> list[Result]:
            task, are_new = self.task, self.task.past is None
            panels = asked(self.agent, states, task.validation, are_new=are_new)
            return [play(*panel) for panel in panels]

        state = self.best, self.states, self.step, evaluate
        self.best, logged = validate(self.agent, self.selection, *state)
        return logged

    def decisions_per_second(self) -> float:
        """Of the fastest validation after the first, which compiles; of the task's
        users once more where there was none."""
        if len(self.speeds) > 1 and self.final_evaluator is self.evaluator:
            return max(self.speeds[1:])
        start = time.perf_counter()
        result = self.evaluate(self.task.users)
        return result.num_decisions / (time.perf_counter() - start)

    def restore(self, folder: Path, *, at: int | None = None) -> bool:
        """Goes to the newest checkpoint in a run directory, whatever devices saved it.

        Or to that of update `at` and to no other. False, and nothing is changed, where
        there is none.
        """
        found = checkpoint.restore_newest(
            folder,
            self.shapes,
            last_step=at,
            identity=self._identity if folder == self.workdir else None,
            fresh=self._on_host,
        )
        if not found or at not in (None, found[0]):
            return False
        self.step, held = found
        self._take(held)
        return True

    def save(self) -> None:
        checkpoint.save(
            self.workdir,
            self.step,
            self._on_host(),
            (self.agent.seed_axes, 0),
            identity=self._identity,
        )

    @functools.cached_property
    def _identity(self) -> str:
        try:
            config = read_config(self.workdir)
        except FileNotFoundError:  # of several processes one writes it
            config = self.config.to_dict()
        return run_identity(config, self.data_digest)

    def _on_host(self) -> tuple[object, BestCheckpoint | None]:
        mesh, held = self.world.mesh, (self.states, self.best)
        return sharding.collect(mesh, held, self.shapes, self.agent.item_axes)

    def _take(self, held: tuple[object, BestCheckpoint | None]) -> None:
        mesh, item_axes = self.world.mesh, self.agent.item_axes
        self.states, self.best = sharding.place(mesh, held, item_axes)


def resume(runs: Sequence[Run]) -> None:
    """Takes runs to their newest checkpoint, together where they have the same.

    A kill between two saves leaves some a chunk ahead. They go back to the others, so
    that all end with the numbers of a sweep that nobody killed, to the bit. One that
    is ahead by more than it has kept stays there, and the others catch up.
    """
    for run in runs:
        run.restore(run.workdir)
    last = min(run.step for run in runs)
    for run in runs:
        if run.step > last:
            run.restore(run.workdir, at=last)
    multihost.check_same_steps([run.step for run in runs], runs[0].workdir)


def train(runs: Sequence[Run], logs: Sequence[StepLog]) -> None:
    """All updates that are left, chunk by chunk, of runs that share a program.

    A run without updates is validated once. One whose numbers are no longer finite gets
    a `failure` and keeps its checkpoint from before that.
    Raises Interrupted, all runs saved, when a signal asks for it.
    """
    if not runs[0].num_steps:
        for run, log in zip(runs, logs, strict=True):
            log.log(0, run.validate())
    with stop_requested() as stop, beside(runs[0].ahead):
        while behind := _furthest_behind(runs, logs):
            start = time.perf_counter()
            measured = _advance([run for run, _ in behind])
            seconds = time.perf_counter() - start
            for (run, log), numbers in zip(behind, measured, strict=True):
                _log_chunk(run, log, numbers, seconds)
            is_last = multihost.in_any(stop.flag)
            for run, _ in behind:
                _save_where_due(run, is_last)
            if is_last:
                _end_unfinished(runs)


def _furthest_behind(
    runs: Sequence[Run], logs: Sequence[StepLog]
) -> list[tuple[Run, StepLog]]:
    """Runs to move on next: some may have been trained before, without the others.

    Diverged runs go along, for another number of runs would be another program.
    """
    left = [run.step for run in runs if not run.failure and run.step < run.num_steps]
    pairs = zip(runs, logs, strict=True)
    return [(run, log) for run, log in pairs if left and run.step == min(left)]


def _advance(runs: Sequence[Run]) -> list[dict[str, np.ndarray]]:
    """One chunk for all runs, in one call -> what it measured, [S] each, per run.

    Runs that the phase cannot tell apart (alpha is nothing to pre-training) are one to
    it: the first of them is trained, and the others go where it went.
    """
    agent, num_seeds = runs[0].agent, len(runs[0].roots)
    phase, number, length = runs[0].place
    leaders: dict[tuple, Run] = {}
    for run in runs:
        leaders.setdefault(run.numbers[phase], run)
    trained = list(leaders.values())
    for run in trained:
        state = run.best, run.states, run.step
        run.states = handed_over(agent, run.selection, *state)
    mesh = runs[0].world.mesh
    states, measured = runs[0].programs(
        phase,
        join_states(agent, [run.states for run in trained]),
        join_worlds([run.world for run in trained], num_seeds),
        sharding.place(mesh, jnp.concatenate([run.roots for run in trained])),
        np.int32(number),
        np.int32(length),
    )
    parts = split_states(agent, states, len(trained))
    for run, part in zip(trained, parts, strict=True):
        run.states = part
    for run in runs:
        if run not in trained:
            _follow(run, leaders[run.numbers[phase]])
        run.step += run.periods.log
    measured = {f"{phase}/{name}": x for name, x in jax.device_get(measured).items()}
    places = [list(leaders).index(run.numbers[phase]) * num_seeds for run in runs]
    return [
        {name: x[i : i + num_seeds] for name, x in measured.items()} for i in places
    ]


def _follow(run: Run, leader: Run) -> None:
    """Takes a run where another went; it learns on as its own config says."""
    own = getattr(run.states, "settings", None)
    run.states = leader.states if own is None else leader.states.replace(settings=own)


def _log_chunk(
    run: Run, log: StepLog, measured: dict[str, np.ndarray], seconds: float
) -> None:
    """Logs the chunk a run has just done, or says why the run has failed.

    seconds: what its updates took, and those of all runs that went along.
    """
    numbers = {name: values.mean() for name, values in measured.items()}
    broken = [name for name, value in numbers.items() if not math.isfinite(value)]
    if broken and not run.failure:
        phase = broken[0].partition("/")[0]
        run.failure = (
            f"{broken[0]} is not finite at update {run.step}; {run.workdir} keeps the "
            f"last good checkpoint; lower {run.rate_keys[phase]}"
        )
    if run.failure:
        return
    clocks = {"time/update_seconds": seconds}
    if run.selection.is_due(run.step, run.periods.validation):
        start = time.perf_counter()
        numbers |= run.validate()
        clocks["time/validation_seconds"] = time.perf_counter() - start
    log.log(run.step, numbers | clocks)


def _save_where_due(run: Run, is_last: bool) -> None:
    """Saves a run that has not failed, at its period, at its end or on request."""
    is_due = run.step % run.periods.checkpoint == 0
    if not run.failure and (is_due or is_last or run.step == run.num_steps):
        run.save()


def _end_unfinished(runs: Sequence[Run]) -> None:
    left = [run for run in runs if not run.failure and run.step < run.num_steps]
    if left:
        others = f" with {len(runs) - 1} others" if len(runs) > 1 else ""
        raise Interrupted(
            f"stopped{others} at update {left[0].step} of {left[0].num_steps}; "
            f"the same command goes on from {left[0].workdir}"
        )
