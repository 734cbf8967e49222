"""Evaluates finished runs again, under another protocol, from their checkpoints.

For new values of `evaluation.*` each run directory gets another one inside it, which
the report reads like any other:

    RUN/evaluated/<protocol>/     config.json, summary.json, evaluation.npz

A folder is named by all that sets one result apart: the protocol with its setting, how
many users are drawn where not all are asked, seeds that play together.
Nothing is trained, so what the agent knew must stay as it was: a run of the cold
protocols cannot be evaluated as `warm`, and the reverse. Time and device of training in
the new summary are those of the run itself.
"""

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from dlerse_jax.evaluation.protocols import PROTOCOLS, protocol_words
from dlerse_jax.experiment.restore import stored_config
from dlerse_jax.experiment.runner import build_runs, summarize_run
from dlerse_jax.experiment.sweep import Point, changed_config, point_state
from dlerse_jax.experiment.training_run import Interrupted, Run
from dlerse_jax.runs.choice import read_choice, write_choice
from dlerse_jax.runs.directory import (
    OtherConfig,
    check_data,
    write_summary,
)
from dlerse_jax.runs.records import REEVALUATED, find_runs, read_run
from dlerse_jax.runs.records import Run as StoredRun
from dlerse_jax.runtime.directory_lock import locked
from dlerse_jax.runtime.signals import stop_requested

# What chose the checkpoint while the run was trained, and cannot be chosen again.
DECIDED = ("evaluation.select", "evaluation.every")
# Numbers of the summary that training made, not evaluation.
TRAINING_COSTS = (
    "wall_seconds",
    "update_seconds",
    "validation_seconds",
    "runs_in_program",
    "peak_memory_bytes",
)


def points_to_reevaluate(directory: Path, changes: Mapping[str, object]) -> list[Point]:
    """What is left to evaluate in a run or the runs below a folder, a `Point` each.

    Names are the new directories', relative to `directory`. Left out are runs that are
    not finished, those that were trained under this very protocol, and those that were
    evaluated under it before. FileNotFoundError where there is no run; ValueError for a
    change that is not of the evaluation, or that a run cannot be evaluated under.
    """
    _check_changes(changes)
    found = find_runs(directory)
    runs = [run for run in found if not run.is_reevaluated]
    if not runs:
        raise ValueError(
            f"{directory} has evaluations of a run, and no run: name the run itself, "
            f"as {found[0].directory.parents[1]}"
        )
    if not any(run.finished for run in runs):
        raise ValueError(
            f"{directory}: no run there is finished; run its `dlerse train` or "
            "`dlerse sweep` command again first"
        )
    asked = [_point(run, directory, changes) for run in runs if run.finished]
    points = [point for point in asked if point]
    return [point for point in points if _is_open(point, directory)]


def _is_open(point: Point, directory: Path) -> bool:
    """ValueError where its folder holds an evaluation that differs in another key."""
    try:
        return point_state(point, directory) != "finished"
    except OtherConfig as other:
        folder = directory / point.name
        raise ValueError(
            f"{folder}: {other.difference} in what is asked; move that folder away to "
            "evaluate again, or leave the key out"
        ) from other


def reevaluate(
    points: Sequence[Point], directory: Path
) -> Iterator[tuple[Point, dict]]:
    """Evaluates points of one program one by one -> each with its summary.

    Raises Interrupted, between two, when a signal asks for it.
    """
    folders = [directory / point.name for point in points]
    configs = [point.config for point in points]
    with locked(folders), stop_requested() as stop:
        for folder in folders:
            if agents := read_choice(folder.parents[1]):
                write_choice(folder, agents)
        runs = build_runs(configs, folders, will_train=False)
        for point, run in zip(points, runs, strict=True):
            check_data(_origin(run), run.data_digest)
            _restore(run)
            summary = summarize_run(run) | _training_costs(_origin(run))
            write_summary(run.workdir, summary)
            run.states = run.best = None  # a sweep's states together may not fit
            yield point, summary
            if stop.flag:
                raise Interrupted("stopped; the same command goes on with the next run")


def _check_changes(changes: Mapping[str, object]) -> None:
    for key in changes:
        if not key.startswith("evaluation."):
            raise ValueError(
                f"{key} cannot be changed here: nothing is trained, so evaluation.* "
                "alone may differ (rewards of alpha 0 and 0.1 are in every summary)"
            )
        if key in DECIDED:
            raise ValueError(
                f"{key} cannot be changed here: it chose the checkpoint while the run "
                f"was trained; leave it out, or train a run with --config.{key}="
            )
    if "evaluation.protocol" not in changes:
        raise ValueError(
            "--config.evaluation.protocol is missing: name one of "
            + ", ".join(PROTOCOLS)
        )


def _point(
    run: StoredRun, directory: Path, changes: Mapping[str, object]
) -> Point | None:
    """The run under another protocol; None where it is its own."""
    trained = stored_config(run.directory)
    baselines = {"evaluation.baselines": ()}  # runs of their own have them
    config = changed_config(trained, baselines | dict(changes))
    if _words(config) == _words(trained):
        _check_done(run, trained, config, changes)
        return None
    if (asked := _known(config)) != (known := _known(trained)):
        raise ValueError(
            f"{run.directory} was built on the likes that are known under {known}, and "
            f"others are known under {asked}; train a run of its own with "
            f"--config.evaluation.protocol={config.evaluation.protocol}"
        )
    slug = re.sub(r"\W+", "_", _words(config).replace(" = ", ""))
    folder = run.directory / REEVALUATED / slug
    return Point(index=0, name=str(folder.relative_to(directory)), config=config)


def _check_done(
    run: StoredRun,
    trained: ConfigDict,
    config: ConfigDict,
    changes: Mapping[str, object],
) -> None:
    """ValueError where a run's own result, which stays, had another key."""
    for key in set(changes) - {"evaluation.least_users"}:  # which changes no number
        own, asked = (operator.attrgetter(key)(each) for each in (trained, config))
        if own != asked:
            raise ValueError(
                f"{run.directory} was evaluated under this protocol when it was "
                f"trained, with {key}={own}, which {asked} does not replace; leave "
                f"{key} out, or train a run of its own"
            )


def _words(config: ConfigDict) -> str:
    """What sets one result of a run apart from another: protocol, who is asked, who
    answers."""
    options = config.evaluation
    words = protocol_words(
        options.protocol,
        others_per_like=options.others_per_like,
        ranking_of=options.ranking_of,
    )
    if options.most_users:
        words += f" {options.most_users} users"
    return words if options.seeds == "individual" else f"{words} {options.seeds}"


def _known(config: ConfigDict) -> str:
    """Whose likes an agent of this config is built on: "cold" or "warm" users'."""
    options = config.evaluation
    asked = options.ranking_of if options.protocol == "ranking" else options.protocol
    return "warm" if asked == "warm" else "cold"


def _origin(run: Run) -> Path:
    return run.workdir.parents[1]


def _restore(run: Run) -> None:
    """Gives the run the last state of the one it comes from; nothing if untrained."""
    if not run.num_steps:
        return
    if not run.restore(_origin(run)) or run.step != run.num_steps:
        place = f"of update {run.step}" if run.step else "absent"
        raise ValueError(
            f"{_origin(run)}: its newest whole checkpoint is {place}, expected update "
            f"{run.num_steps}; remove its summary.json and train it again"
        )


def _training_costs(origin: Path) -> dict[str, object]:
    result = read_run(origin).result
    return {name: result[name] for name in TRAINING_COSTS if name in result}
