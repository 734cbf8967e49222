"""Policies without learning beside a run, evaluated on the same users."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dlerse_jax.evaluation.evaluator import Result, make_evaluator
from dlerse_jax.evaluation.summary import longest_precision
from dlerse_jax.experiment.build import build_agent
from dlerse_jax.experiment.training_run import Run
from dlerse_jax.learning.train_loop import init_states
from dlerse_jax.runs import checkpoint
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.beside import beside

MOST_BESIDE = 2**18  # users and items: the tables of more fill memory one by one


def evaluate_baselines(run: Run) -> dict[str, dict]:
    """What a run's summary.json has of them; each is evaluated once per program.

    `baselines` holds their metrics on the task's users, `baselines_validation` their
    mean precision on validation users, by which `registry.name_bar` names the bar.
    """
    names = run.config.evaluation.baselines
    with beside(reversed(baseline_jobs(run))):
        found = {name: _evaluated(run, name) for name in names}
    for name, (result, _) in found.items():
        write_evaluation(run.workdir / "baselines" / f"{name}.npz", result)
    return {
        "baselines": {name: result.summary() for name, (result, _) in found.items()},
        "baselines_validation": {name: mean for name, (_, mean) in found.items()},
    }


def baseline_jobs(run: Run) -> list[Callable[[], object]]:
    """What `evaluate_baselines` needs, a job each; none where they need much memory.

    None on a mesh either, where all processes must do the same in the same order.
    """
    known = run.task.known
    is_large = known.num_users + known.num_items > MOST_BESIDE
    if is_large or run.world.mesh is not None:
        return []
    names = run.config.evaluation.baselines
    return [functools.partial(_evaluated, run, name) for name in names]


def _evaluated(run: Run, name: str) -> tuple[Result, float | None]:
    return run.baselines(name, lambda: _evaluate(run, name))


def _evaluate(run: Run, name: str) -> tuple[Result, float | None]:
    """Its result, and its precision on validation users, None where there are none."""
    agent = build_agent(run.config, run.task.known, name)
    evaluator = make_evaluator(
        agent, run.task, run.identity and f"{name} {run.identity}"
    )
    device_copy = init_states(agent, run.roots)
    states = sharding.place(run.world.mesh, device_copy, agent.item_axes)
    result = evaluator(states, run.world, run.task.users, run.roots)
    if not len(run.task.validation):
        return result, None
    found = evaluator(states, run.world, run.task.validation, run.roots).metrics
    return result, float(np.nanmean(found[longest_precision(found)]))


def write_evaluation(path: Path, result: Result) -> None:
    """Keeps what was shown and answered; a ranking has no such thing."""
    if result.evaluation is not None:
        checkpoint.write_evaluation(path, result.evaluation)
