"""`dlerse sweep`: every point of a sweep file, then the best one.

Exit status 1 says that a point failed; the others are finished all the same.
"""

import sys
from datetime import timedelta
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from dlerse_jax.commands.output import say
from dlerse_jax.evaluation.summary import interval_text
from dlerse_jax.experiment.checks import check_same_data
from dlerse_jax.experiment.sweep import (
    Point,
    best_point,
    finished_runs,
    group_points,
    make_points,
    num_programs,
    point_state,
    read_sweep,
    run_group,
    seconds_per_point,
    shard_points,
)
from dlerse_jax.runs.directory import check_holds_runs
from dlerse_jax.runs.records import validation_precision


def define_flags(values: flags.FlagValues) -> None:
    """The flags that only this command reads."""
    flags.DEFINE_string("sweep", "", "sweep file", flag_values=values)
    flags.DEFINE_integer("point", None, "one point, by its index", flag_values=values)
    flags.DEFINE_string("shard", "", "part i of n, as i/n", flag_values=values)
    flags.DEFINE_boolean("list", False, "name the points", flag_values=values)
    flags.DEFINE_boolean("dry-run", False, "count, run nothing", flag_values=values)


def sweep(values: flags.FlagValues, base: ConfigDict, workdir: Path) -> int:
    """Lists, counts or runs the points that were asked for -> exit status."""
    sweep = read_sweep(values.sweep)
    points = make_points(sweep, base, values["config"].override_values)
    chosen = _chosen(points, values.point, values.shard)
    if values.list:
        _list(points, chosen)
        return 0
    check_holds_runs(workdir)
    states = {point.name: point_state(point, workdir) for point in chosen}
    groups = group_points(p for p in chosen if states[p.name] == "open")
    # Those that are open are checked as they are built.
    check_same_data([p.config for p in chosen if states[p.name] != "open"], workdir)
    say(_plan(chosen, groups, workdir))
    if values["dry-run"].value:
        return 0
    for number, group in enumerate(groups, start=1):
        say(f"group {number}/{len(groups)}: {', '.join(p.name for p in group)}")
        for run in run_group(group, workdir, sweep_name=sweep.name, quiet=values.quiet):
            if run.failure:
                say(f"failed: {run.failure}")
    return _close(chosen, points, workdir)


def _chosen(points: list[Point], index: int | None, shard: str) -> list[Point]:
    if index is None:
        return shard_points(points, shard) if shard else points
    if shard:
        raise ValueError("--point is one point, --shard a part of all: leave one out")
    if not 0 <= index < len(points):
        raise ValueError(f"--point is {index}, expected 0 to {len(points) - 1}")
    return [points[index]]


def _list(points: list[Point], chosen: list[Point]) -> None:
    asked = {point.index for point in chosen}
    for number, group in enumerate(group_points(points)):
        for point in (point for point in group if point.index in asked):
            say(f"{point.index:4}  group {number}  {point.name}")


def _plan(chosen: list[Point], groups: list[list[Point]], workdir: Path) -> str:
    left = sum(map(len, groups))
    programs = sum(map(num_programs, groups))
    done = f" ({len(chosen) - left} done before)" if left < len(chosen) else ""
    seconds = seconds_per_point(workdir)
    time = "time not known before a point is finished"
    if seconds is not None:
        time = f"about {timedelta(seconds=round(seconds * left))} of training"
    return (
        f"{left} points to run{done}, {len(groups)} groups, "
        f"{programs} training programs to compile, {time}"
    )


def _close(chosen: list[Point], points: list[Point], workdir: Path) -> int:
    """Writes what came out of each chosen point, and the best of all -> exit status."""
    states = {point.name: point_state(point, workdir) for point in chosen}
    failed = {name: s for name, s in states.items() if s not in ("open", "finished")}
    if best := best_point(workdir, {point.name for point in points}):
        Console(file=sys.stdout).print(_table(best.metric, set(states), workdir))
        tests = [run.result["summary"]["metrics"][best.metric] for run in best.runs]
        say(
            f"best on validation users: {best.name}, {best.validation:.3f}; "
            f"on test users {_mean_text(tests)}"
        )
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}; remove its folder to try again")
    say(f"sweep saved in {workdir}; `dlerse report {workdir}` makes the page")
    return 1 if failed else 0


def _table(metric: str, names: set[str], workdir: Path) -> Table:
    """The points' precision on validation users: test users wait for the chosen one."""
    title = f"{metric.replace('_', ' ')} of validation users"
    table = Table("point", "precision", title=title, box=None, pad_edge=False)
    for run in finished_runs(workdir):
        found = validation_precision(run)
        if run.directory.name in names and found:
            table.add_row(run.directory.name, f"{found[1]:.3f}")
    return table


def _mean_text(intervals: list[dict]) -> str:
    """One split with its interval; of several, the mean and how many."""
    if len(intervals) == 1:
        return interval_text(intervals[0])
    mean = sum(interval["mean"] for interval in intervals) / len(intervals)
    return f"{mean:.3f} (mean of {len(intervals)} splits)"
