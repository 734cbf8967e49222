"""The figures of one comparison: what agents earn, rank and cost, and all others.

In goes a `Comparison`, out come `FigureGroup`s in the order of the page. A group
whose data are absent has no panels, and the page leaves it out. The caption says
protocol, users, seeds and what the interval means.
"""

import numpy as np

from dlerse_jax.evaluation.summary import RANKING_CUTOFFS
from dlerse_jax.reporting import panels
from dlerse_jax.reporting.comparison import Comparison, Contender
from dlerse_jax.reporting.reference import BARS_SOURCE, REFERENCE_BARS
from dlerse_jax.reporting.style import FigureGroup, Panel
from dlerse_jax.reporting.user_figures import group_figure, step_figure, win_figure


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
        "reward_alpha_0": ("Mean reward, α = 0", "reward a step"),
        "reward_alpha_0.1": ("Mean reward, α = 0.1", "reward a step"),
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
    return FigureGroup(
        title="Reward, precision and recall", caption=caption, panels=drawn
    )


def ranking_figure(comparison: Comparison) -> FigureGroup:
    """The paper's Figure 3: precision, recall, NDCG, MRR and AUC of one ranking."""
    by_cutoff = {
        title: {f"K = {k}": f"{metric}_at_{k}" for k in RANKING_CUTOFFS}
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
            drawn.append(_rows_panel(comparison, name, title, unit, present))
    return FigureGroup(
        title="Ranking metrics", caption=comparison.provenance(), panels=drawn
    )


def cost_figure(comparison: Comparison) -> FigureGroup:
    """The paper's Figure 5, left: what each agent costs in time and memory."""
    units = {
        "wall_seconds": ("Time of the whole run", "seconds", 1),
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
        " agent's runs, each with all its seeds, on the machine listed under the runs."
        " Scales are logarithmic."
    )
    return FigureGroup(title="Cost in time and memory", caption=caption, panels=drawn)


def mean_cost(contender: Contender, quantity: str) -> float | None:
    """Mean over the agent's own runs; None where no run says."""
    costs = [run.result.get(quantity) for run in contender.runs]
    known = [cost for cost in costs if cost is not None]
    return float(np.mean(known)) if known else None


def _rows_panel(
    comparison: Comparison, name: str, title: str, unit: str, metrics: dict[str, str]
) -> Panel:
    """One row an agent; metrics: label of the series -> name of the metric."""
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
