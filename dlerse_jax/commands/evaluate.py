"""`dlerse evaluate DIR`: finished runs under another protocol, one line per run."""

from collections.abc import Mapping
from pathlib import Path

from dlerse_jax.commands.output import say
from dlerse_jax.evaluation.summary import cutoffs_in, interval_text
from dlerse_jax.experiment.reevaluate import points_to_reevaluate, reevaluate
from dlerse_jax.experiment.sweep import group_points


def evaluate(directory: Path, changes: Mapping[str, object]) -> None:
    """Evaluates the run in `directory`, or each below it, with a changed config."""
    points = points_to_reevaluate(directory, changes)
    runs = "run" if len(points) == 1 else "runs"
    say(f"{len(points)} {runs} to evaluate; others are done already")
    done = 0
    for group in group_points(points):
        for point, summary in reevaluate(group, directory):
            done += 1
            say(f"{done}/{len(points)}  {point.name}  {_precision(summary)}")
    say(f"`dlerse report {directory}` makes the page")


def _precision(summary: dict) -> str:
    """The longest precision there is, with its interval."""
    metrics = summary["summary"]["metrics"]
    last = cutoffs_in(metrics)[-1]
    return f"P@{last} {interval_text(metrics[f'precision_at_{last}'])}"
