"""Search of settings with Optuna: trials chosen one after the other by validation.

A search leaves a folder with one run directory per trial, as `dlerse train` would have
left it, and `search.sqlite3`, from which the same command goes on. A search file has a
docstring that says the question, `BASE` and `QUICK_BASE` as a sweep file, and

    def suggest(trial):
        return {"q_learning.gamma": trial.suggest_float("gamma", 0.0, 0.9)}

or suggest(trial, config), which is given the base config as well. Policies without
learning are searched by `policy_search`, whose trials are no runs.
Each validation is reported to Optuna, which ends a trial that is worse than the others
were by then. Optuna is the optional extra `search`. One process per folder: a trial
that is under way is taken for one that was killed.
"""

import dataclasses
import functools
import inspect
import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.experiment.agent_keys import check_settings
from dlerse_jax.experiment.chosen_settings import keep_given
from dlerse_jax.experiment.config_files import errors_of, load_file
from dlerse_jax.experiment.runner import build_runs, finish_run, open_log
from dlerse_jax.experiment.sweep import changed_config
from dlerse_jax.experiment.training_run import train
from dlerse_jax.runs.directory import check_same
from dlerse_jax.runs.log import RunLog
from dlerse_jax.runs.progress import teller
from dlerse_jax.runs.records import line_precision, read_run, validation_precision
from dlerse_jax.runtime.directory_lock import locked
from dlerse_jax.runtime.messages import shorten

STORAGE = "search.sqlite3"
FOLDER = "directory"  # attributes of a trial in the storage
REASON = "failure"
BASE, DATA = "config", "data_digest"  # of the study: what its trials started from


class Pruned(Exception):
    """Optuna ended the trial: others were better by then."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What a search file says: where it starts, and what a trial changes there."""

    name: str
    base: str  # config file with its option, as --config takes it
    suggest: Callable[[Any, ConfigDict], Mapping[str, object]]  # trial, base config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended."""

    directory: Path
    state: str  # "complete", "pruned" or "fail"
    precision: float | None  # on validation users; None where it failed
    reason: str = ""


def read_search(file_and_option: str) -> Search:
    """The search of `FILE.py` or `FILE.py:quick`; errors as of a sweep file."""
    module, name, option = load_file(file_and_option, "suggest", "searches/learning.py")
    file = file_and_option.partition(":")[0]
    most = len(inspect.signature(module.suggest).parameters)
    if most not in (1, 2):
        raise ValueError(
            f"{file}: suggest takes {most} arguments, expected trial, or trial and "
            "config"
        )

    def suggest(*given: Any) -> Mapping[str, object]:
        try:
            with errors_of(file):
                found = module.suggest(*given[:most])
        except ValueError as error:
            if file in str(error):
                raise
            raise ValueError(
                f"{file}: {error}; correct it, or take another --workdir where earlier "
                "trials were proposed in another way"
            ) from error
        if not isinstance(found, Mapping):
            raise ValueError(
                f"{file}: suggest returns {shorten(repr(found))}, expected a dict of "
                "config keys and values"
            )
        return found

    base = module.QUICK_BASE if option else module.BASE
    return Search(name=name, base=base, suggest=suggest)


def learns_nothing(base: ConfigDict) -> bool:
    """Whether the agent of a config is a policy without learning."""
    return base.agent.name in CLASSICAL


def open_study(workdir: Path, search: Search, base: ConfigDict):
    """The search's study at `workdir`/search.sqlite3, begun or taken up.

    ValueError where Optuna is not installed, or trials there started from another
    config. Trials that a kill left behind are marked
    failed, and proposed again in their own directories, where they resume.
    """
    optuna = _optuna()
    workdir.mkdir(parents=True, exist_ok=True)
    storage = _storage(optuna, workdir / STORAGE)
    for name in optuna.get_all_study_names(storage):
        if name != search.name:
            raise ValueError(
                f"{workdir / STORAGE} has the trials of the search {name!r}, not of "
                f"{search.name!r}; take another --workdir"
            )
    study = optuna.create_study(
        storage=storage,
        study_name=search.name,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        load_if_exists=True,
    )
    if stored := study.user_attrs.get(BASE):
        check_same(workdir / STORAGE, stored, base.to_dict())
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if FOLDER in trial.user_attrs:
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
    return study


def _storage(optuna: ModuleType, path: Path):
    """Optuna's storage in a file, by its path: an address would end at a ?, and what is
    in braces would be filled in. ValueError for a file that is no such storage."""
    from sqlalchemy.exc import DBAPIError  # Optuna's own way to a file

    connect = functools.partial(
        sqlite3.connect, path, timeout=20, check_same_thread=False
    )
    try:
        return optuna.storages.RDBStorage(
            f"sqlite:///{STORAGE}", engine_kwargs={"creator": connect}
        )
    except DBAPIError as error:
        raise ValueError(
            f"{path}: {error.orig}; where it is damaged, move it away, and the search "
            "begins anew"
        ) from error


def keep_start(study, base: ConfigDict, digest: str = "") -> None:
    """Notes, once a trial can run, what all trials start from: config and data."""
    for name, value in ((BASE, json.loads(base.to_json())), (DATA, digest)):
        if value and name not in study.user_attrs:
            study.set_user_attr(name, value)


def num_ended(study) -> int:
    """Trials that need not be run again: complete, pruned or diverged."""
    states = _optuna().trial.TrialState
    return sum(
        trial.state in (states.COMPLETE, states.PRUNED) or REASON in trial.user_attrs
        for trial in study.trials
    )


def next_trial(study, base: ConfigDict):
    """The next trial. What it draws hangs on the trials that have ended alone, so that
    a search which was killed goes on as one that was not."""
    seed = base.seed + num_ended(study)
    study.sampler = _optuna().samplers.TPESampler(seed=seed)
    return study.ask()


def run_trials(
    study,
    search: Search,
    base: ConfigDict,
    workdir: Path,
    num_trials: int,
    *,
    given: Collection[str] = (),
    quiet: bool,
) -> Iterator[Outcome]:
    """Runs what is left of num_trials. Raises Interrupted as `training_run.train` does.

    Keys `given` on the command line have their value in base, for every trial:
    ValueError, and no trial is lost, where the search proposes one of them itself.
    """
    states = _optuna().trial.TrialState
    for _ in range(num_trials - num_ended(study)):
        trial = next_trial(study, base)
        folder = trial.user_attrs.get(FOLDER, f"trial_{num_ended(study):04}")
        trial.set_user_attr(FOLDER, folder)
        _, config = propose(study, trial, search, base, given)
        keep_start(study, base)
        outcome = _run(trial, config, workdir / folder, search.name, quiet)
        if outcome.reason:
            trial.set_user_attr(REASON, outcome.reason)
        value = outcome.precision if outcome.state == "complete" else None
        study.tell(trial, value, state=states[outcome.state.upper()])
        yield outcome


def propose(
    study, trial, search: Search, base: ConfigDict, given: Collection[str]
) -> tuple[Mapping[str, object], ConfigDict]:
    """The keys that a trial changes, and its config; the trial fails with an error.

    ValueError for a key that is given on the command line, that no config has or that
    does nothing for the agent.
    """
    try:
        proposed = search.suggest(trial, base)
        if twice := sorted(set(given) & set(proposed)):
            raise ValueError(
                f"--config.{twice[0]} is given, and {search.name} proposes values of "
                "it; leave it out, or change the search's file"
            )
        config = changed_config(base, proposed)
        check_settings(config, proposed)
        config = keep_given(config, {*given, *proposed})
    except ValueError:
        study.tell(trial, state=_optuna().trial.TrialState.FAIL)
        raise
    return proposed, config


def best_trial(study, workdir: Path) -> tuple[dict, float, dict] | None:
    """Parameters and validation precision of the best trial, and its summary.

    None before the first that is complete.
    """
    complete = study.get_trials(states=(_optuna().trial.TrialState.COMPLETE,))
    if not complete:
        return None
    best = max(complete, key=lambda trial: trial.value)
    summary = (workdir / best.user_attrs[FOLDER] / "summary.json").read_bytes()
    return best.params, best.value, json.loads(summary)


class _TrialLog:
    """A run's log that reports each validation to Optuna."""

    def __init__(self, log: RunLog, trial) -> None:
        self._log = log
        self._trial = trial

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._log.log(step, metrics)
        if found := line_precision(metrics):
            self._trial.report(float(found[1]), step)
            if self._trial.should_prune():
                raise Pruned


def _run(trial, config: ConfigDict, folder: Path, group: str, quiet: bool) -> Outcome:
    with locked([folder]):
        return _run_locked(trial, config, folder, group, quiet)


def _run_locked(
    trial, config: ConfigDict, folder: Path, group: str, quiet: bool
) -> Outcome:
    tell = teller(folder.name, quiet=quiet)
    [run] = build_runs([config], [folder], beside=folder.parent, tell=tell)
    with open_log(run, group=group, quiet=quiet) as log:
        try:
            train([run], [_TrialLog(log, trial)])
        except Pruned:
            precision = validation_precision(read_run(folder))[1]
            return Outcome(directory=folder, state="pruned", precision=precision)
        if run.failure:
            log.fail()
            return Outcome(
                directory=folder, state="fail", precision=None, reason=run.failure
            )
        finish_run(run, log)
    precision = validation_precision(read_run(folder))[1]
    return Outcome(directory=folder, state="complete", precision=precision)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ValueError(
            "a search needs Optuna, which is not installed: pip install "
            "'dlerse_jax[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
