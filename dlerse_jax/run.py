"""Runs in training, several side by side: one compiled program moves all of them on.

In go `Run`s of one agent that differ in traced numbers alone (alpha, gamma, learning
rates, ...) and their logs; each keeps its own directory, log and checkpoints, as if it
had trained alone. A single run is the case of one. Signals stop all of them where
their states are saved; a run that diverges is left behind, the others go on.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax import checkpoint, devices, processes
from dlerse_jax.evaluation.judging import Judge, Judgement
from dlerse_jax.evaluation.protocols import Task
from dlerse_jax.interrupts import stop_requested
from dlerse_jax.simulator import Simulator
from dlerse_jax.tracking import RunLog
from dlerse_jax.training import join_states, join_worlds, split_states, train_chunk
from dlerse_jax.types import Agent, Dataset


class Interrupted(Exception):
    """A signal asked the run to end; its state is saved."""


@dataclasses.dataclass(kw_only=True, eq=False)
class Run:
    """What one run holds in hand: built from its config, moved on by `train`."""

    config: ConfigDict
    workdir: Path
    dataset: Dataset
    task: Task  # what it is asked; agent and world are made of what that tells
    world: Simulator
    agent: Agent
    roots: jax.Array  # [S] keys
    states: object  # on the devices of `world`
    lengths: dict[str, int]  # updates of each phase
    judge: Judge  # compiled at its first call, and shared by runs of one program
    baselines: dict[str, Judgement]  # judged so far; runs of one program share it
    num_in_program: int  # runs built to train side by side, this one included
    numbers: dict[str, tuple]  # phase -> the traced numbers that it reads
    step: int = 0  # updates done, both phases
    failure: str = ""  # why it cannot go on; "" while it can
    shapes: object = dataclasses.field(init=False)  # of states as a checkpoint has them

    def __post_init__(self) -> None:
        mesh = self.world.mesh
        self.shapes = jax.eval_shape(lambda: self.states)
        self.states = devices.place(mesh, self.states, self.agent.item_axes)
        self.world = self.world.replace(alpha=devices.place(mesh, self.world.alpha))

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
        params = jax.tree.leaves(getattr(self.shapes, "params", {}))
        return sum(leaf.size // leaf.shape[0] for leaf in params)

    def evaluate(self, users: np.ndarray) -> Judgement:
        """How users are served with the averaged parameters of every seed."""
        return self.judge(self.states, self.world, users, self.roots)


def resume(runs: Sequence[Run]) -> None:
    """Takes runs to their newest checkpoint, together where they have the same.

    A kill between two saves leaves some a chunk ahead. They go back to the others, so
    that all end with the numbers of a sweep that nobody killed, to the bit. One that
    is ahead by more than it has kept stays there, and the others catch up.
    """
    for run in runs:
        if found := newest_state(run, run.workdir):
            run.step, run.states = found
    last = min(run.step for run in runs)
    for run in runs:
        if run.step > last:
            former = newest_state(run, run.workdir, last_step=last)
            if former and former[0] == last:
                run.step, run.states = former
    processes.check_same_steps([run.step for run in runs], runs[0].workdir)


def newest_state(
    run: Run, folder: Path, *, last_step: int | None = None
) -> tuple[int, object] | None:
    """As `checkpoint.restore_newest`, on this run's devices, whatever saved it."""
    found = checkpoint.restore_newest(folder, run.shapes, last_step=last_step)
    if not found:
        return None
    step, states = found
    return step, devices.place(run.world.mesh, states, run.agent.item_axes)


def train(runs: Sequence[Run], logs: Sequence[RunLog]) -> None:
    """All updates that are left, chunk by chunk, of runs that share a program.

    A run without updates is looked at once, on its validation users. One whose numbers
    are no longer finite gets a `failure` and keeps its checkpoint from before that.
    Raises Interrupted, all runs saved, when a signal asks for it.
    """
    every = runs[0].config.tracking.every
    chunks = {
        phase: train_chunk(runs[0].agent, phase, every)
        for phase, length in runs[0].lengths.items()
        if length
    }
    if not chunks:
        for run, log in zip(runs, logs, strict=True):
            log.log(0, _validation_metrics(run))
    with stop_requested() as stop:
        while behind := _furthest_behind(runs, logs):
            measured = _advance([run for run, _ in behind], chunks)
            for (run, log), numbers in zip(behind, measured, strict=True):
                _log_chunk(run, log, numbers)
            is_last = processes.in_any(stop.flag)
            for run, _ in behind:
                _save_where_due(run, is_last)
            if is_last:
                _end_unfinished(runs)


def _furthest_behind(
    runs: Sequence[Run], logs: Sequence[RunLog]
) -> list[tuple[Run, RunLog]]:
    """Runs to move on next: some may have been trained before, without the others.

    Diverged runs go along, for another number of runs would be another program.
    """
    left = [run.step for run in runs if not run.failure and run.step < run.num_steps]
    pairs = zip(runs, logs, strict=True)
    return [(run, log) for run, log in pairs if left and run.step == min(left)]


def _advance(
    runs: Sequence[Run], chunks: dict[str, Callable]
) -> list[dict[str, np.ndarray]]:
    """One chunk for all runs, in one call -> what it measured, [S] each, a run.

    Runs that the phase cannot tell apart (alpha is nothing to `fit`) are one to it: the
    first of them is trained, and the others go where it went.
    """
    agent, num_seeds = runs[0].agent, len(runs[0].roots)
    phase, number, length = runs[0].place
    leaders: dict[tuple, Run] = {}
    for run in runs:
        leaders.setdefault(run.numbers[phase], run)
    trained = list(leaders.values())
    mesh = runs[0].world.mesh
    states, measured = chunks[phase](
        join_states(agent, [run.states for run in trained]),
        join_worlds([run.world for run in trained], num_seeds),
        devices.place(mesh, jnp.concatenate([run.roots for run in trained])),
        number,
        length,
    )
    parts = split_states(agent, states, len(trained))
    for run, part in zip(trained, parts, strict=True):
        run.states = part
    for run in runs:
        if run not in trained:
            _follow(run, leaders[run.numbers[phase]])
        run.step += run.config.tracking.every
    measured = {f"{phase}/{name}": x for name, x in jax.device_get(measured).items()}
    places = [list(leaders).index(run.numbers[phase]) * num_seeds for run in runs]
    return [
        {name: x[i : i + num_seeds] for name, x in measured.items()} for i in places
    ]


def _follow(run: Run, leader: Run) -> None:
    """Takes a run where another went; it learns on as its own config says."""
    own = getattr(run.states, "settings", None)
    run.states = leader.states if own is None else leader.states.replace(settings=own)


def _log_chunk(run: Run, log: RunLog, measured: dict[str, np.ndarray]) -> None:
    """Logs the chunk a run has just done, or says why the run has failed."""
    numbers = {name: values.mean() for name, values in measured.items()}
    broken = [name for name, value in numbers.items() if not math.isfinite(value)]
    if broken and not run.failure:
        phase = broken[0].partition("/")[0]
        run.failure = (
            f"{broken[0]} is not finite at update {run.step}; {run.workdir} keeps the "
            f"last good checkpoint; lower {_learning_rate_key(run, phase)}"
        )
    if run.failure:
        return
    if run.step % run.config.evaluation.every == 0 or run.step == run.num_steps:
        numbers |= _validation_metrics(run)
    log.log(run.step, numbers)


def _learning_rate_key(run: Run, phase: str) -> str:
    own = f"offline.{run.agent.name}"
    section = own if run.agent.name in run.config.offline else phase
    return f"{section}.learning_rate"


def _validation_metrics(run: Run) -> dict[str, float]:
    metrics = run.evaluate(run.task.validation).metrics
    return {f"eval/{name}": np.nanmean(values) for name, values in metrics.items()}


def _save_where_due(run: Run, is_last: bool) -> None:
    """Saves a run that has not failed, at its period, at its end or on request."""
    is_due = run.step % run.config.tracking.checkpoint_every == 0
    if not run.failure and (is_due or is_last or run.step == run.num_steps):
        states = devices.collect(
            run.world.mesh, run.states, run.shapes, run.agent.item_axes
        )
        checkpoint.save(run.workdir, run.step, states, run.agent.seed_axes)


def _end_unfinished(runs: Sequence[Run]) -> None:
    left = [run for run in runs if not run.failure and run.step < run.num_steps]
    if left:
        others = f" with {len(runs) - 1} others" if len(runs) > 1 else ""
        raise Interrupted(
            f"stopped{others} at update {left[0].step} of {left[0].num_steps}; "
            f"the same command goes on from {left[0].workdir}"
        )
