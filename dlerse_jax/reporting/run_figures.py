"""The figures made from the logs and the data of runs, whatever they compare.

In go runs, out come `FigureGroup`s: how learning went, and how large the data are.
"""

import collections
from collections.abc import Sequence

import numpy as np

from dlerse_jax.evaluation.summary import CUTOFFS
from dlerse_jax.reporting import panels
from dlerse_jax.reporting.comparison import contender_names
from dlerse_jax.reporting.reference import PAPER_SOURCE, PAPER_STATISTICS
from dlerse_jax.reporting.runs import Run
from dlerse_jax.reporting.style import FigureGroup

COUNTS = ("users", "items", "interactions", "friend_pairs")
MEANS = {"items_per_user": "items a user", "friends_per_user": "friends a user"}
# Panels of the learning curves: title -> names in the log, of which the first counts.
CURVES = {
    "Pre-training loss": ["fit/fit_loss"],
    "Q-learning loss": ["learn/loss"],
    "Validation precision": [f"eval/precision_at_{k}" for k in reversed(CUTOFFS)],
    "Validation reward": ["eval/reward_alpha_0"],
}


def learning_figure(runs: Sequence[Run]) -> FigureGroup:
    """Losses, validation precision and validation reward over updates."""
    drawn = []
    for title, names in CURVES.items():
        series = learning_curves(runs, names)
        if series:
            name = "learning_" + title.lower().replace(" ", "_").replace("-", "_")
            drawn.append(panels.lines(name, title, "updates", _unit(names), series))
    caption = (
        "As logged during training, mean over the seeds of a run and over runs that"
        " differ in split or seed alone. Validation: precision over the whole episode"
        " and reward a step at α = 0. Losses of different agents are not comparable."
    )
    return FigureGroup(title="Learning curves", caption=caption, panels=drawn)


def learning_curves(
    runs: Sequence[Run], names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The first of the named quantities that a run logs: agent -> (steps, means)."""
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    for run, agent in zip(runs, contender_names(runs), strict=True):
        logged = {name for record in run.log for name in record}
        name = next((name for name in names if name in logged), None)
        for record in run.log:
            if record.get(name) is not None:
                values[agent][record["step"]].append(record[name])
    curves = {}
    for agent, by_step in values.items():
        steps = np.array(sorted(by_step))
        curves[agent] = (steps, np.array([np.mean(by_step[step]) for step in steps]))
    return curves


def _unit(names: Sequence[str]) -> str:
    """What the vertical axis counts: loss, precision or reward."""
    return next(w for w in ("loss", "precision", "reward") if w in names[0])


def dataset_figure(statistics: dict[str, dict]) -> FigureGroup:
    """The paper's Figure 2: data statistics of the sets, by data set."""
    counts, means, theirs = {}, {}, set()
    for dataset, numbers in statistics.items():
        for name in COUNTS:
            counts[f"{dataset}: {name.replace('_', ' ')}"] = numbers[name]
        for name, words in MEANS.items():
            means[f"{dataset}: {words}"] = numbers[name]
            if name in PAPER_STATISTICS.get(dataset, {}):
                label = f"{dataset}: {words} (theirs)"
                means[label] = PAPER_STATISTICS[dataset][name]
                theirs.add(label)
    drawn = []
    if statistics:
        title = "Size after filtering"
        drawn = [
            panels.number_rows("counts", title, "count", counts, log=True),
            panels.number_rows("means", "Means", "mean a user", means, theirs=theirs),
        ]
    caption = "Counts after the filter of METHOD.md, section 1, on a logarithmic scale."
    if theirs:
        caption += f" Hollow diamonds are not ours: {PAPER_SOURCE}."
    return FigureGroup(title="The data", caption=caption, panels=drawn)


def statistics_by_dataset(runs: Sequence[Run]) -> dict[str, dict]:
    """What the runs say of their data: data set -> numbers of `dlerse data stats`."""
    return {
        run.result["dataset"]: run.result["dataset_statistics"]
        for run in runs
        if "dataset_statistics" in run.result
    }
