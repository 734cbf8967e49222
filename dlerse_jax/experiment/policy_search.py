"""Search of the settings of a policy without learning: one program, many points.

A trial builds the policy on the training users and plays the validation users of the
config's split; test users are left alone, and there is no run directory. Trials whose
arrays have the same shapes share one compiled program: what differs is in the states.
The best numbers are left in `tuned.json`, by the config keys that take them.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import jax.numpy as jnp
from ml_collections import ConfigDict

from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.data import dataset_digest
from dlerse_jax.evaluation.evaluator import Evaluator, make_evaluator
from dlerse_jax.evaluation.summary import longest_precision
from dlerse_jax.experiment.build import (
    build_agent,
    build_dataset,
    build_environments,
    build_task,
)
from dlerse_jax.experiment.checks import check_dataset, check_run
from dlerse_jax.experiment.search import (
    DATA,
    Search,
    keep_start,
    next_trial,
    num_ended,
    propose,
)
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.runs.directory import check_digest
from dlerse_jax.runtime.atomic_files import write_atomically

TUNED_NAME = "tuned.json"
METRIC = "metric"  # attribute of the study
PROPOSED = "proposed"  # attribute of a trial in the storage: flat keys -> values


class PolicyEvaluation:
    """Evaluates one policy after the other on a split's validation users."""

    def __init__(self, config: ConfigDict) -> None:
        if config.agent.name not in CLASSICAL:
            raise ValueError(
                f"agent.name is {config.agent.name!r}, expected one without learning: "
                f"{', '.join(CLASSICAL)}"
            )
        check_run(config)
        self.dataset = build_dataset(config)
        check_dataset(config, self.dataset)
        self.task = build_task(config, self.dataset)
        self.metric = ""  # precision at the horizon, once a policy was evaluated
        self._world = build_environments([config], self.task.known)[0]
        self._roots = seed_keys(config.seed + jnp.arange(1))
        self._evaluator: Evaluator | None = None

    def precision(self, config: ConfigDict) -> float:
        """Mean precision of the policy under a config of the same data and agent."""
        agent = build_agent(config, self.task.known)
        # The first agent's functions serve all: they read numbers from the state alone.
        self._evaluator = self._evaluator or make_evaluator(agent, self.task)
        states = init_states(agent, self._roots)
        users = self.task.validation
        metrics = self._evaluator(states, self._world, users, self._roots).metrics
        self.metric = longest_precision(metrics)
        return float(metrics[self.metric].mean())


def run_policy_trials(
    study,
    search: Search,
    base: ConfigDict,
    workdir: Path,
    num_trials: int,
    *,
    given: Collection[str] = (),
) -> Iterator[tuple[int, float]]:
    """Runs what is left of num_trials -> number and precision of each.

    The first trial is the base config's own numbers, so the best is never below them.
    `tuned.json` is written anew after each, and first of all after those of earlier
    calls: a kill may have come between a trial and it.
    """
    evaluation = PolicyEvaluation(base)
    is_waiting = any(trial.state.name == "WAITING" for trial in study.trials)
    if not num_ended(study) and not is_waiting:  # a kill may have ended it before
        study.enqueue_trial(base.baseline.get(base.agent.name, ConfigDict()).to_dict())
    digest = dataset_digest(evaluation.dataset)
    if num_ended(study) and METRIC in study.user_attrs:
        check_digest(workdir, study.user_attrs.get(DATA), digest)
        _write_tuned(study, evaluation, base, workdir)
    for _ in range(num_trials - num_ended(study)):
        check_digest(workdir, study.user_attrs.get(DATA), digest)
        trial = next_trial(study, base)
        proposed, config = propose(study, trial, search, base, given)
        trial.set_user_attr(PROPOSED, dict(proposed))
        keep_start(study, base, digest)
        precision = evaluation.precision(config)
        if METRIC not in study.user_attrs:
            study.set_user_attr(METRIC, evaluation.metric)
        study.tell(trial, precision)
        _write_tuned(study, evaluation, base, workdir)
        yield trial.number, precision


def without_choice(base: ConfigDict, given: Collection[str]) -> ConfigDict:
    """The config with `tune` off; ValueError where somebody asked for it."""
    if base.tune and "tune" in given:
        raise ValueError(
            "tune chooses settings on training users, and this search chooses them on "
            "validation users; leave --config.tune out"
        )
    base = base.copy_and_resolve_references()
    base.tune = False
    return base.lock()


def read_tuned(workdir: Path) -> dict:
    """What a search found: agent, dataset, split, metric, before, best, settings."""
    return json.loads((Path(workdir) / TUNED_NAME).read_bytes())


def _write_tuned(study, evaluation: PolicyEvaluation, base: ConfigDict, workdir: Path):
    ended = [trial for trial in study.trials if trial.value is not None]
    best = study.best_trial
    found = {
        "agent": base.agent.name,
        "dataset": evaluation.dataset.name,
        "split": base.data.split,
        "protocol": base.evaluation.protocol,
        "num_users": len(evaluation.task.validation),  # validation users
        "metric": study.user_attrs[METRIC],
        "trials": len(ended),
        "before": ended[0].value,  # under the base config's own numbers
        "best": best.value,
        "settings": best.user_attrs[PROPOSED],
    }
    text = json.dumps(found, indent=2) + "\n"
    write_atomically(Path(workdir) / TUNED_NAME, text.encode())
