"""Sweeps: one question, many points, and as few compiled programs as they need.

A sweep leaves a folder with one run directory per point, as `dlerse train` would have
left it. A sweep file has a docstring that says the question, `BASE` and `QUICK_BASE`
(configs of `experiments/`) and

    def sweep(add, option=""):
        for alpha in (0.0, 0.1):
            add({"reward.alpha": alpha})

Points that differ in traced numbers alone are trained side by side as one program.
"""

import collections
import contextlib
import dataclasses
import json
import operator
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from dlerse_jax.config_ranges import check_ranges
from dlerse_jax.experiment.agent_keys import check_points
from dlerse_jax.experiment.checks import phase_lengths
from dlerse_jax.experiment.chosen_settings import keep_given, with_stored_choice
from dlerse_jax.experiment.config_files import (
    errors_of,
    known_keys,
    load_file,
    plain_number,
    unknown_key,
)
from dlerse_jax.experiment.runner import build_runs, finish_run, open_log
from dlerse_jax.experiment.training_run import Run, train
from dlerse_jax.experiment.vmapped_keys import traced_keys
from dlerse_jax.runs.directory import check_config, flat_items, read_json
from dlerse_jax.runs.log import RunLog
from dlerse_jax.runs.progress import teller
from dlerse_jax.runs.records import Run as StoredRun
from dlerse_jax.runs.records import find_runs, training_seconds, validation_precision
from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.runtime.directory_lock import locked
from dlerse_jax.runtime.messages import shorten

FAILURE_NAME = "failed.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep file says: where it starts, and what each point changes there."""

    name: str  # of the file, with its option
    base: str  # config file with its option, as --config takes it
    changes: tuple[dict[str, object], ...]  # flat keys of each point


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One config of a sweep; its name is that of its run directory."""

    index: int
    name: str
    config: ConfigDict


# --- reading --------------------------------------------------------------------------


def read_sweep(file_and_option: str) -> Sweep:
    """The sweep of `FILE.py` or `FILE.py:quick`; errors as of `load_file`."""
    module, name, option = load_file(file_and_option, "sweep", "sweeps/alpha.py")
    changes: list[dict[str, object]] = []

    def add(change: Mapping[str, object]) -> None:
        changes.append({key: plain_number(value) for key, value in change.items()})

    with errors_of(file_and_option.partition(":")[0]):
        module.sweep(add, option)
    if not changes:
        raise ValueError(f"{file_and_option} adds no points, so nothing would run")
    return Sweep(
        name=name,
        base=module.QUICK_BASE if option else module.BASE,
        changes=tuple(changes),
    )


def make_points(
    sweep: Sweep, base: ConfigDict, given: Collection[str] = ()
) -> list[Point]:
    """The sweep's points over a base config, each with a locked config of its own.

    Keys `given` on the command line have their value in base: it counts for all points,
    where the sweep has one value for all. ValueError where its points differ in such a
    key, for a key that no config has or that does nothing for the point's agent, a
    value of another type, or two points that are the same run.
    """
    changes = _without(given, sweep)
    configs = [changed_config(base, change) for change in changes]
    check_points(changes, configs, given, sweep.name)
    both = zip(changes, configs, strict=True)
    configs = [keep_given(config, {*given, *change}) for change, config in both]
    names = _names(changes, configs)
    first_of: dict[str, int] = {}
    for index, config in enumerate(configs):
        first = first_of.setdefault(config.to_json(sort_keys=True), index)
        if first != index:
            raise ValueError(
                f"points {first} and {index} of {sweep.name} are the same run, "
                f"{names[index]}; add it once"
            )
    for index, name in enumerate(names):
        if (first := names.index(name)) != index:
            raise ValueError(
                f"points {first} and {index} of {sweep.name} would share the folder "
                f"{shorten(name)}; change a value by more than its signs"
            )
    pairs = enumerate(zip(names, configs, strict=True))
    return [Point(index=i, name=name, config=config) for i, (name, config) in pairs]


def _without(given: Collection[str], sweep: Sweep) -> list[dict]:
    """The sweep's changes less the keys that are given for all points."""
    for key in given:
        own = [change.get(key) for change in sweep.changes]
        if any(value != own[0] for value in own):
            raise ValueError(
                f"--config.{key} is given, and points of {sweep.name} differ in it; "
                "leave it out, or change the sweep's file"
            )
    return [
        {key: value for key, value in change.items() if key not in given}
        for change in sweep.changes
    ]


def changed_config(base: ConfigDict, change: Mapping[str, object]) -> ConfigDict:
    """A locked copy of base with other values for flat keys.

    Numbers of NumPy count as Python's. ValueError as above, and for a number out of its
    range.
    """
    config = base.copy_and_resolve_references()
    for key, value in change.items():
        key, value = str(key), _typed(key, plain_number(value))
        try:
            found = operator.attrgetter(key)(config)
            if isinstance(found, ConfigDict) and value != {}:
                raise KeyError(key)
            config.update_from_flattened_dict({key: value})
        except (AttributeError, KeyError) as error:
            raise ValueError(unknown_key(key)) from error
        except TypeError as error:
            raise ValueError(
                f"{key} cannot be {shorten(repr(value))}: {error}"
            ) from error
    check_ranges(flat_items(config.to_dict()))
    return config.lock()


def _typed(key: str, value: object) -> object:
    """A number for a key whose default is None, which has no type to be held to, and
    for no other key None, which the config would take."""
    if value is None and known_keys().get(key) is not None:
        raise ValueError(f"{key} cannot be None: leave it out for its default")
    if value is None or known_keys().get(key, "") is not None:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} cannot be {shorten(repr(value))}: expected a number")
    return float(value)


def _names(changes: Sequence[dict], configs: Sequence[ConfigDict]) -> list[str]:
    """`key=value,...` of each point's own keys, without those no two points differ in.

    A point that changes nothing is `base`.
    """
    varying = {
        key
        for key in set().union(*changes)
        if len({str(operator.attrgetter(key)(config)) for config in configs}) > 1
    }
    pairs = [
        [f"{key}={value}" for key, value in change.items() if key in varying]
        for change in changes
    ]
    return [re.sub(r"[^\w.=,+-]", "-", ",".join(pair)) or "base" for pair in pairs]


# --- choosing -------------------------------------------------------------------------


def group_points(points: Iterable[Point]) -> list[list[Point]]:
    """Points by compiled program: those of a group differ in traced numbers alone."""
    groups = collections.defaultdict(list)
    for point in points:
        blank = point.config.copy_and_resolve_references()
        blank.update_from_flattened_dict(dict.fromkeys(traced_keys(blank), 0.0))
        groups[blank.to_json(sort_keys=True)].append(point)
    return list(groups.values())


def shard_points(points: Sequence[Point], shard: str) -> list[Point]:
    """Part i of n, for `shard` "i/n" with i from 1 to n; programs are kept whole
    where there are enough of them. Every point is in one part."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    part, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= part <= of:
        raise ValueError(
            f"--shard is {shard!r}, expected i/n with i from 1 to n, for example 1/4"
        )
    groups = group_points(points)
    pieces = groups if len(groups) >= of else [[point] for point in points]
    return [point for piece in pieces[part - 1 :: of] for point in piece]


def point_state(point: Point, workdir: Path) -> str:
    """What the point's directory says: "open", "finished", or why it failed.

    ValueError where the directory holds a run of another config.
    """
    folder = Path(workdir) / point.name
    if (folder / "config.json").exists():
        check_config(folder, with_stored_choice(point.config, folder).to_dict())
    failure = folder / FAILURE_NAME
    if failure.exists():
        return str(read_json(failure, mend="remove it to try again").get("reason"))
    return "finished" if (folder / "summary.json").exists() else "open"


def num_programs(group: Sequence[Point]) -> int:
    """Training programs that a group compiles: one for each phase it has."""
    return sum(length > 0 for length in phase_lengths(group[0].config).values())


def seconds_per_point(workdir: Path) -> float | None:
    """Mean training time of the sweep's finished points, a program's time shared among
    its points; None while there is none."""
    shards = [training_seconds(run) for run in finished_runs(workdir)]
    return float(np.mean(shards)) if shards else None


def finished_runs(workdir: Path) -> list[StoredRun]:
    """What the sweep's finished points left behind; [] before the first."""
    if not any(Path(workdir).rglob("summary.json")):
        return []
    runs = find_runs(Path(workdir))
    return [run for run in runs if run.finished and not run.is_reevaluated]


# --- running --------------------------------------------------------------------------


def run_group(
    points: Sequence[Point], workdir: Path, *, sweep_name: str, quiet: bool
) -> list[Run]:
    """Trains and evaluates points of one program side by side, each in its directory.

    Each is taken up at its newest checkpoint. A point that diverges leaves failed.json
    with the reason, and the others go on. Raises Interrupted as
    `training_run.train` does.
    """
    folders = [Path(workdir) / point.name for point in points]
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folders))
        tell = teller(points[0].name, quiet=quiet)
        configs = [point.config for point in points]
        runs = build_runs(configs, folders, beside=Path(workdir), tell=tell)
        logs = [
            # A terminal has room for one progress bar: the first run's is that of all.
            stack.enter_context(open_log(run, group=sweep_name, quiet=quiet or i > 0))
            for i, run in enumerate(runs)
        ]
        try:
            train(runs, logs)
        finally:
            for run, log in zip(runs, logs, strict=True):
                _record_failure(run, log)
        for run, log in zip(runs, logs, strict=True):
            if not run.failure:
                finish_run(run, log)
    return runs


def _record_failure(run: Run, log: RunLog) -> None:
    if run.failure:
        log.fail()
        content = json.dumps({"reason": run.failure}, indent=2) + "\n"
        write_atomically(run.workdir / FAILURE_NAME, content.encode())


# --- evaluation ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """A point chosen on validation users; points that differ in the split are one."""

    name: str
    metric: str  # precision_at_K with the longest K there is
    validation: float  # mean over its splits
    runs: tuple[StoredRun, ...]  # one per split; their results are of the test users


def best_point(workdir: Path, names: Collection[str]) -> Best | None:
    """The finished one of the named points that was best on validation users.

    By the precision of the selected checkpoints, in metrics.jsonl: points select theirs
    by their own objectives, and rewards under two alphas are not of one scale. A point
    that lacks a split which another has is no candidate. None where none is finished.
    """
    splits = collections.defaultdict(list)
    folders = {Path(workdir) / name for name in names}  # others may be beside them
    for run in finished_runs(workdir):
        if run.directory not in folders:
            continue
        if found := validation_precision(run):
            splits[_name_without_split(run)].append((run, *found))
    most = max(map(len, splits.values()), default=0)
    candidates = []
    for name, points in splits.items():
        if len(points) == most:
            runs, metrics, values = zip(*points, strict=True)
            mean = float(np.mean(values))
            best = Best(name=name, metric=metrics[0], validation=mean, runs=runs)
            candidates.append(best)
    return max(candidates, key=operator.attrgetter("validation"), default=None)


def _name_without_split(run: StoredRun) -> str:
    parts = run.directory.name.split(",")
    kept = [part for part in parts if not part.startswith("data.split=")]
    return ",".join(kept) or "base"
