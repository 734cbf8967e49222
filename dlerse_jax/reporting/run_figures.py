"""The figures made from the logs and the data of runs, whatever they compare.

In go runs, out come `FigureGroup`s: how learning went, and how large the data are.
"""

import collections
from collections.abc import Sequence

import numpy as np

from dlerse_jax.reporting import panels
from dlerse_jax.reporting.comparison import contender_names
from dlerse_jax.reporting.reference import PAPER_SOURCE, PAPER_STATISTICS
from dlerse_jax.reporting.runs import Run
from dlerse_jax.reporting.style import FigureGroup

COUNTS = ("users", "items", "interactions", "friend_pairs")
MEANS = {"items_per_user": "items a user", "friends_per_user": "friends a user"}
# Panels of the learning curves: title -> what the name of a logged quantity holds.
CURVES = {
    "Training loss": ("train/", "loss"),
    "Pre-training loss": ("fit/", "loss"),
    "Validation precision": ("eval/", "precision"),
    "Validation reward": ("eval/", "reward"),
}


def learning_figure(runs: Sequence[Run]) -> FigureGroup:
    """Loss, validation precision and validation reward over updates."""
    drawn = []
    for title, (area, word) in CURVES.items():
        series = learning_curves(runs, area, word)
        if series:
            name = "learning_" + title.lower().replace(" ", "_").replace("-", "_")
            unit = title.split(" ", 1)[1].lower()
            drawn.append(panels.lines(name, title, "updates", unit, series))
    caption = (
        "As logged during training, mean over the seeds of a run and over runs that"
        " differ in split or seed alone. Losses of different agents are not comparable."
    )
    return FigureGroup(title="Learning curves", caption=caption, panels=drawn)


def learning_curves(
    runs: Sequence[Run], area: str, word: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Logged quantities of an area whose name holds the word: label -> (step, value).

    The label is the agent's where it logs one such quantity, else agent and name.
    """
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    for run, agent in zip(runs, contender_names(runs), strict=True):
        for record in run.log:
            for key, value in record.items():
                if key.startswith(area) and word in key:
                    values[agent, key.removeprefix(area)][record["step"]].append(value)
    agents = collections.Counter(agent for agent, _ in values)
    curves = {}
    for (agent, key), by_step in values.items():
        steps = np.array(sorted(by_step))
        means = np.array([np.mean(by_step[step]) for step in steps])
        curves[agent if agents[agent] == 1 else f"{agent}, {key}"] = (steps, means)
    return curves


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
