"""The figures made from the logs and the data of runs, whatever they compare.

They show how learning went, and how large the data are.
"""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from dlerse_jax.evaluation.summary import cutoffs_in
from dlerse_jax.reporting import panels
from dlerse_jax.reporting.names import contender_names
from dlerse_jax.reporting.reference import PAPER_SOURCE, PAPER_STATISTICS
from dlerse_jax.reporting.style import MOST_SERIES, FigureGroup
from dlerse_jax.runs.records import Run

COUNTS = ("users", "items", "interactions", "friend_pairs")
MEANS = {"items_per_user": "items per user", "friends_per_user": "friends per user"}


def learning_figure(
    runs: Sequence[Run], best_first: Iterable[str], about: str
) -> FigureGroup:
    """Losses, validation precision and validation reward over updates.

    best_first are names of `contender_names`, and about is what the caption says of
    their task.
    """
    named = _names_of_curves(runs)
    curves = {title: learning_curves(runs, names) for title, names in named.items()}
    learned = set().union(*curves.values())
    shown = [name for name in best_first if name in learned][:MOST_SERIES]
    drawn = []
    for title, names in named.items():
        series = {n: curves[title][n] for n in shown if n in curves[title]}
        if series:
            name = "learning_" + title.lower().replace(" ", "_").replace("-", "_")
            drawn.append(panels.lines(name, title, "updates", _unit(names), series))
    caption = (
        f"{about}As logged during training, mean over the seeds of a run and over runs"
        " that differ in split or seed alone. Validation users: precision over the"
        " whole episode and reward per step at α = 0. Losses of different agents are"
        " not comparable."
    )
    if len(learned) > MOST_SERIES:
        caption += f" The {MOST_SERIES} agents with the highest precision."
    return FigureGroup(title="Learning curves", caption=caption, panels=drawn)


def _names_of_curves(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Panels of the learning curves: title -> names in logs, of which the first counts.

    Precision is that over the longest list a run has.
    """
    logged = {name for run in runs for line in run.log for name in line}
    return {
        "Pre-training loss": ["pretrain/pretrain_loss"],
        "Q-learning loss": ["q_learning/loss"],
        "Validation precision": [
            f"eval/precision_at_{k}" for k in reversed(cutoffs_in(logged))
        ],
        "Validation reward": ["eval/reward_alpha_0"],
    }


def learning_curves(
    runs: Sequence[Run], names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The first of the named quantities that a run logs: agent -> (steps, means).

    Agents that logged it at a single step, as those that never learn, are left out.
    """
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    for run, agent in zip(runs, contender_names(runs), strict=True):
        logged = {name for record in run.log for name in record}
        name = next((name for name in names if name in logged), None)
        for record in run.log:
            if record.get(name) is not None:
                values[agent][record["step"]].append(record[name])
    curves = {}
    for agent, by_step in values.items():
        if len(by_step) > 1:
            steps = sorted(by_step)
            means = [np.mean(by_step[step]) for step in steps]
            curves[agent] = (np.array(steps), np.array(means))
    return curves


def _unit(names: Sequence[str]) -> str:
    """What the vertical axis counts: loss, precision or reward."""
    return next(w for w in ("loss", "precision", "reward") if w in names[0])


def dataset_figure(statistics: dict[str, dict]) -> FigureGroup:
    """The paper's Figure 2: data statistics of the sets, by data set."""
    reference: set[str] = set()
    counts = _with_printed(
        statistics, {n: n.replace("_", " ") for n in COUNTS}, reference
    )
    means = _with_printed(statistics, MEANS, reference)
    drawn = []
    if statistics:
        title = "Size after filtering"
        drawn = [
            panels.number_rows(
                "counts", title, "count", counts, log=True, reference=reference
            ),
            panels.number_rows(
                "means", "Means", "mean per user", means, reference=reference
            ),
        ]
    caption = "Counts after the filter, on a logarithmic scale."
    if reference:
        caption += f" Hollow diamonds are not ours: {PAPER_SOURCE}."
    return FigureGroup(title="The data", caption=caption, panels=drawn)


def _with_printed(
    statistics: dict[str, dict], words: dict[str, str], reference: set[str]
) -> dict[str, float]:
    """Rows of our numbers, each above the paper's where it prints one.

    Labels of the paper's are added to `theirs`.
    """
    rows = {}
    for dataset, numbers in statistics.items():
        printed = PAPER_STATISTICS.get(dataset, {})
        for name, word in words.items():
            rows[f"{dataset}: {word}"] = numbers[name]
            if name in printed:
                rows[f"{dataset}: {word} (theirs)"] = printed[name]
                reference.add(f"{dataset}: {word} (theirs)")
    return rows


def statistics_by_dataset(runs: Sequence[Run]) -> dict[str, dict]:
    """What the runs say of their data: data set -> numbers of `dlerse data stats`."""
    return {
        run.result["dataset"]: run.result["dataset_statistics"]
        for run in runs
        if "dataset_statistics" in run.result
    }
