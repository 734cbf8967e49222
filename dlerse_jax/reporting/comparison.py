"""Groups runs into comparisons: what may stand in one table, and under which name.

In go runs, out come `Comparison`s, one for each data set and protocol, and apart for
each horizon, filter or candidate list where runs differ in those. In it every agent,
from a run of its own or from the baselines beside one, is a `Contender` with all its
splits and seeds. Runs of one agent that differ in their settings (a sweep over alpha,
say) are contenders of their own, named by the settings that differ.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.evaluation.bootstrap import (
    NUM_RESAMPLES,
    paired_difference,
    paired_ratio,
    win_probability,
)
from dlerse_jax.evaluation.summary import (
    average_summaries,
    cutoffs_in,
    longest_precision,
    metric_names,
    summarize,
    user_metrics,
)
from dlerse_jax.runs.records import Run, flat_config
from dlerse_jax.types import Evaluation

# Settings that tell repetitions of one experiment apart, not experiments.
REPETITION_KEYS = {
    "seed",
    "num_seeds",
    "data.path",
    "data.split",
    "evaluation.baselines",
    "evaluation.every",
    "evaluation.seeds",  # the agent's name says it
}
# Settings that `Run.protocol` says, where the protocol reads them at all.
PROTOCOL_KEYS = {
    "evaluation.protocol",
    "evaluation.others_per_like",
    "evaluation.ranking_of",
}
# Agents that every panel shows, whatever their rank: what the others are held against.
REFERENCE_AGENTS = ("random", "popularity")
# Settings of the task, which all agents of a table must share.
TASK_PREFIXES = ("data.", "episode.", "evaluation.", "reward.miss")
# Settings of the agent among those: what it plays with.
NO_TASK_KEYS = {"evaluation.select"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """An agent under one group of settings: what is compared."""

    name: str
    evaluations: dict[int, Evaluation]  # by split; empty for protocol `ranking`
    stored: dict[int, dict]  # summaries of summary.json, by split
    runs: list[Run]  # its own runs; none for a baseline evaluated beside another

    def summary(self) -> dict:
        """Summary over all splits: from the evaluations, else from what is stored."""
        if self.evaluations:
            return summarize(*self.evaluations.values())
        return average_summaries(list(self.stored.values()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that was measured on one data set under one protocol."""

    dataset: str
    protocol: str  # with its setting: "cold_candidates, r = 3"
    task: str  # task settings that set it apart from other comparisons; mostly ""
    contenders: dict[str, Contender]  # best first
    summaries: dict[str, dict]  # by the same names
    runs: list[Run]

    @property
    def num_splits(self) -> int:
        return max(len(contender.stored) for contender in self.contenders.values())

    @property
    def longest_cutoff(self) -> int:
        """The largest K the episodes have a precision for; 0 without episodes."""
        if not self.has("reward_alpha_0"):
            return 0
        return cutoffs_in(self.metrics)[-1]

    @functools.cached_property
    def metrics(self) -> set[str]:
        """Names of what at least one agent was measured by."""
        return metric_names(self.summaries.values())

    def has(self, metric: str) -> bool:
        """Whether at least one agent has the metric."""
        return metric in self.metrics

    def with_episodes(self) -> list[Contender]:
        """The agents whose episodes are stored user by user, best first."""
        return [c for c in self.contenders.values() if c.evaluations]

    def foremost(self, most: int) -> list[str]:
        """The best agents, as many as a panel can hold, and then the reference ones."""
        names = list(self.contenders)
        return names[:most] + [n for n in names[most:] if n in REFERENCE_AGENTS]

    @functools.cached_property
    def wins(self) -> dict[tuple[str, str], dict]:
        """Chance that the first of two agents serves a user better: a pair -> interval.

        By precision at the longest cut-off, for agents evaluated on every split.
        """
        cells = {}
        tables = self.paired
        for first, others in _pairs_by_seeds(tables):
            own = [table[None] for table in tables[first]]
            reference = [
                np.stack(split) for split in zip(*map(tables.get, others), strict=True)
            ]
            wins = win_probability(own, reference)  # one call: the draws are shared
            bounds = np.stack([wins.mean, wins.low, wins.high], axis=1).tolist()
            for second, (mean, low, high) in zip(others, bounds, strict=True):
                cells[first, second] = {"mean": mean, "low": low, "high": high}
                reverse = {"mean": 1 - mean, "low": 1 - high, "high": 1 - low}
                cells[second, first] = reverse
        return cells

    def headline(self) -> str:
        """The best agent and its lead over the next, on the same resampled users."""
        tables = self.paired
        if len(tables) < 2:
            return ""
        first, second = list(tables)[:2]
        lead = paired_difference(tables[first], tables[second])
        clear = "a clear lead" if lead.low > 0 else "not a clear lead"
        return (
            f"Highest precision@{self.longest_cutoff}: {first}, {lead.mean:+.3f}"
            f" [{lead.low:+.3f}, {lead.high:+.3f}] over {second}, {clear}"
            " (paired bootstrap over users and seeds)."
            f" {self._ratio_to_the_best_told()}"
        )

    def _ratio_to_the_best_told(self) -> str:
        """The best agent's precision over that of the best one without learning."""
        tables = self.paired
        first = next(iter(tables))
        told = [name for name in tables if name.partition(" (")[0] in CLASSICAL]
        if not told or told[0] == first:
            return ""
        ratio = paired_ratio(tables[first], tables[told[0]])
        return (
            f"Ratio of {first} to the best policy without learning, {told[0]}:"
            f" {ratio.mean:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]. "
        )

    @functools.cached_property
    def paired(self) -> dict[str, list[np.ndarray]]:
        """Agent -> [S, B] precision, a split, where it was evaluated on every split.

        Best first, as the contenders.
        """
        metric = f"precision_at_{self.longest_cutoff}"
        return {
            contender.name: [
                user_metrics(evaluation)[metric]
                for _, evaluation in sorted(contender.evaluations.items())
            ]
            for contender in self.with_episodes()
            if len(contender.evaluations) == self.num_splits
        }

    def provenance(self) -> str:
        """Protocol, users, seeds and splits, and what an interval is: for captions."""
        summaries = self.summaries.values()
        seeds = sorted({summary["num_seeds"] for summary in summaries})
        users = f"{max(summary['num_users'] for summary in summaries):,} users"
        if self.num_splits > 1:
            users += f" over {self.num_splits} splits"
        ranges = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        task = f" ({self.task})" if self.task else ""
        return (
            f"Data set {self.dataset}, protocol {self.protocol}{task}: {users},"
            f" {ranges} seed{'s' if seeds[-1] > 1 else ''} an agent. Whiskers, bands"
            " and brackets are 95% percentile bootstrap intervals of the mean over"
            f" users and seeds ({NUM_RESAMPLES:,} resamples, users drawn within their"
            " split)."
        )


def _pairs_by_seeds(
    tables: dict[str, list[np.ndarray]],
) -> Iterator[tuple[str, list[str]]]:
    """Every pair once: an agent, and later ones whose tables can be stacked."""
    names = list(tables)
    for place, first in enumerate(names):
        by_shape = collections.defaultdict(list)
        for second in names[place + 1 :]:
            by_shape[tuple(t.shape for t in tables[second])].append(second)
        for others in by_shape.values():
            yield first, others


def compare_runs(runs: Sequence[Run]) -> list[Comparison]:
    """One comparison for each data set, protocol and task of the finished runs."""
    by_protocol = collections.defaultdict(list)
    for run in runs:
        if run.finished:
            by_protocol[run.result["dataset"], run.protocol].append(run)
    groups = collections.defaultdict(list)
    for key, peers in by_protocol.items():
        differing = differing_keys(peers)
        for run in peers:
            groups[*key, _task(run, differing)].append(run)
    return [_comparison(*key, group) for key, group in sorted(groups.items())]


def _comparison(dataset: str, protocol: str, task: str, runs: list[Run]) -> Comparison:
    contenders: dict[str, Contender] = {}
    for run, name in zip(runs, contender_names(runs), strict=True):
        contender = contenders.setdefault(name, _new_contender(name))
        contender.runs.append(run)
        _add(contender, run.result["split"], run.result["summary"], run.evaluation)
    own_runs = set(contenders)
    for run in runs:
        split = run.result["split"]
        for name, summary in run.result.get("baselines", {}).items():
            contender = contenders.setdefault(name, _new_contender(name))
            if name not in own_runs and split not in contender.stored:
                _add(contender, split, summary, run.baselines.get(name))
    summaries = {name: contender.summary() for name, contender in contenders.items()}
    best_first = sorted(summaries, key=lambda name: _rank(summaries[name]))
    return Comparison(
        dataset=dataset,
        protocol=protocol,
        task=task,
        contenders={name: contenders[name] for name in best_first},
        summaries={name: summaries[name] for name in best_first},
        runs=runs,
    )


def contender_names(runs: Sequence[Run]) -> list[str]:
    """The agent's name, and in brackets the settings in which its runs differ.

    A setting is called by the last word of its key, where no other one has that word.
    """
    peers = collections.defaultdict(list)
    for run in runs:
        peers[run.agent].append(run)
    names = []
    for run in runs:
        keys = differing_keys(peers[run.agent])
        words = short_names(keys)
        config = flat_config(run)
        settings = [f"{words[key]}={config[key]}" for key in keys if key in config]
        names.append(run.agent + (f" ({', '.join(settings)})" if settings else ""))
    return names


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Flat keys that not all runs share the value of, in the order of the config.

    Left out are those that tell repetitions or protocols apart.
    """
    configs = [flat_config(run) for run in runs]
    return [
        key
        for key in dict.fromkeys(key for config in configs for key in config)
        if key not in REPETITION_KEYS | PROTOCOL_KEYS
        and not key.startswith("tracking.")
        and any(config.get(key) != configs[0].get(key) for config in configs)
    ]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last word of each key, or the whole key where two have that word."""
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: word if last.count(word) == 1 else key
        for key, word in zip(keys, last, strict=True)
    }


def _task(run: Run, keys: Sequence[str]) -> str:
    """`key=value, ...` of the task's settings in which its peers differ."""
    config = flat_config(run)
    return ", ".join(f"{k}={config[k]}" for k in keys if k in config and _is_task(k))


def _is_task(key: str) -> bool:
    return key.startswith(TASK_PREFIXES) and key not in NO_TASK_KEYS


def _new_contender(name: str) -> Contender:
    return Contender(name=name, evaluations={}, stored={}, runs=[])


def _add(
    contender: Contender, split: int, stored: dict, evaluation: Evaluation | None
) -> None:
    """Adds one run's outcome; a second run on the same split adds its seeds."""
    contender.stored.setdefault(split, stored)
    if evaluation is None:
        return
    held = contender.evaluations.get(split)
    if held is not None:
        evaluation = _join_seeds(held, evaluation)
    contender.evaluations[split] = evaluation


def _join_seeds(first: Evaluation, second: Evaluation) -> Evaluation:
    if not np.array_equal(first.users, second.users):
        raise ValueError(
            f"two runs of {first.agent} on the same split evaluated different users;"
            " report them apart"
        )
    return dataclasses.replace(
        first,
        items=np.concatenate([first.items, second.items]),
        feedback=np.concatenate([first.feedback, second.feedback]),
    )


def _rank(summary: dict) -> tuple[float, ...]:
    """Sorting key, best first: precision over the longest list there is."""
    metrics = summary["metrics"]
    measured = [name for name in metrics if metrics[name]["mean"] is not None]
    metric = longest_precision(measured)
    return (-metrics[metric]["mean"],) if metric else (math.inf,)
