"""The figures of one comparison: rewards, rankings and costs of agents, and all others.

`FigureGroup`s come in the order of the page. A group whose data are absent has no
panels, and the page leaves it out. The caption says protocol, users, seeds and what the
interval means.
"""

import numpy as np

from dlerse_jax.evaluation.summary import RANKING_CUTOFFS
from dlerse_jax.reporting import panels
from dlerse_jax.reporting.comparison import Comparison, Contender
from dlerse_jax.reporting.reference import (
    BARS_SOURCE,
    PAPER_PRECISION,
    REFERENCE_BARS,
)
from dlerse_jax.reporting.style import FigureGroup, Panel
from dlerse_jax.reporting.user_figures import group_figure, step_figure, win_figure
from dlerse_jax.runs.records import training_seconds

MOST_ROWS_OF_SERIES = 12  # agents, in panels with several dots a row


def comparison_figures(comparison: Comparison) -> list[FigureGroup]:
    """All groups that the data allow, none of them empty."""
    makers = (
        outcome_figure,
        ranking_figure,
        step_figure,
        group_figure,
        cost_figure,
        win_figure,
    )
    groups = [make(comparison) for make in makers]
    return [group for group in groups if group.panels]


def outcome_figure(comparison: Comparison) -> FigureGroup:
    """The paper's Figure 4: reward at two alphas, precision and recall."""
    last = comparison.longest_cutoff
    shown = {
        "reward_alpha_0": ("Mean reward, α = 0", "reward per step"),
        "reward_alpha_0.1": ("Mean reward, α = 0.1", "reward per step"),
        "precision_at_1": ("Precision@1", "share of first items liked"),
        f"precision_at_{last}": (f"Precision@{last}", "share of shown items liked"),
        f"recall_at_{last}": (f"Recall@{last}", "share of liked items shown"),
    }
    drawn = [
        _rows_panel(comparison, f"outcome_{metric}", title, unit, {"ours": metric})
        for metric, (title, unit) in shown.items()
        if last and comparison.has(metric)
    ]
    caption = "Rewards of different α are not comparable. " + comparison.provenance()
    if (comparison.dataset, comparison.protocol) in REFERENCE_BARS:
        caption += f" Hollow diamonds are not ours: {BARS_SOURCE}, another split."
    caption += printed_precision(comparison)
    return FigureGroup(
        title="Reward, precision and recall", caption=caption, panels=drawn
    )


def printed_precision(comparison: Comparison) -> str:
    """What the paper prints in the regime of candidate lists, for a caption; or ""."""
    printed = PAPER_PRECISION.get(comparison.dataset)
    if printed is None or not comparison.protocol.startswith("cold_candidates"):
        return ""
    return (
        f" Theirs: the paper prints precisions near {printed:g}; for which K and r is"
        " not known, so it has no mark here."
    )


def ranking_figure(comparison: Comparison) -> FigureGroup:
    """The paper's Figure 3: precision, recall, NDCG, MRR and AUC of one ranking.

    Where there are many agents a row has room for the middle K alone.
    """
    many = len(comparison.contenders) > MOST_ROWS_OF_SERIES
    cutoffs = RANKING_CUTOFFS[1:2] if many else RANKING_CUTOFFS
    by_cutoff = {
        title: {f"K = {k}": f"{metric}_at_{k}" for k in cutoffs}
        for title, metric in {
            "Precision@K": "precision",
            "Recall@K": "recall",
            "NDCG@K": "ndcg",
        }.items()
    }
    titles = by_cutoff | {"MRR": {"ours": "mrr"}, "AUC": {"ours": "auc"}}
    drawn = []
    if comparison.has("auc"):
        for title, metrics in titles.items():
            present = {k: name for k, name in metrics.items() if comparison.has(name)}
            name = f"ranking_{title.split('@')[0].lower()}"
            unit = f"{title}, mean over users"
            unit = unit.replace("@K", f"@{cutoffs[0]}" if many else "@K")
            drawn.append(_rows_panel(comparison, name, title, unit, present))
    return FigureGroup(
        title="Ranking metrics", caption=comparison.provenance(), panels=drawn
    )


def cost_figure(comparison: Comparison) -> FigureGroup:
    """The paper's Figure 5, left: what each agent costs in time and memory."""
    units = {
        "wall_seconds": ("Time of a run", "seconds", 1),
        "decisions_per_second": ("Decisions a second", "decisions a second", 1),
        "peak_memory_bytes": ("Peak memory", "MiB", 2**20),
        "num_parameters": ("Parameters", "numbers that are learned", 1),
    }
    drawn = []
    for quantity, (title, unit, scale) in units.items():
        costs = {
            name: cost / scale
            for name, contender in comparison.contenders.items()
            if (cost := mean_cost(contender, quantity)) is not None and cost > 0
        }
        if costs:
            drawn.append(
                panels.number_rows(f"cost_{quantity}", title, unit, costs, log=True)
            )
    caption = (
        f"Data set {comparison.dataset}, protocol {comparison.protocol}: mean over the"
        " agent's runs, each with all its seeds, on the machine listed under the runs;"
        " runs trained side by side share the time of their program."
        " Scales are logarithmic."
    )
    return FigureGroup(title="Cost in time and memory", caption=caption, panels=drawn)


def mean_cost(contender: Contender, quantity: str) -> float | None:
    """Mean over the agent's own runs; None where no run says.

    Runs that were trained side by side share their program's time.
    """
    costs = []
    for run in contender.runs:
        if (cost := run.result.get(quantity)) is not None:
            is_time = quantity == "wall_seconds"
            costs.append(training_seconds(run) if is_time else cost)
    return float(np.mean(costs)) if costs else None


def _rows_panel(
    comparison: Comparison, name: str, title: str, unit: str, metrics: dict[str, str]
) -> Panel:
    """One row per agent; metrics: label of the series -> name of the metric."""
    bars = REFERENCE_BARS.get((comparison.dataset, comparison.protocol), {})
    return panels.interval_rows(
        name,
        title,
        unit,
        {
            label: {
                agent: summary["metrics"][metric]
                for agent, summary in comparison.summaries.items()
                if metric in summary["metrics"]
            }
            for label, metric in metrics.items()
        },
        {
            agent: numbers[metric]
            for metric in metrics.values()
            for agent, numbers in bars.items()
            if metric in numbers
        },
        BARS_SOURCE,
    )
