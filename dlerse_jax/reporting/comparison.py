"""Groups runs into comparisons: what may be in one table, and under which name.

Runs give `Comparison`s, one for each data set and protocol, and separate ones for each
horizon, filter or candidate list where runs differ in those, and for each content of
the data where it has changed. In it every agent, from a
run of its own or from the baselines beside one, is a `Contender` with all its splits
and seeds. Runs of one agent that differ in their settings (a sweep over alpha, say) are
contenders of their own, named by the settings that differ; so are baselines.
"""

import collections
import dataclasses
import functools
import operator
from collections.abc import Iterator, Sequence

import numpy as np

from dlerse_jax.evaluation.bootstrap import win_probability
from dlerse_jax.evaluation.summary import (
    ALPHAS,
    average_summaries,
    cutoffs_in,
    interval_sources,
    longest_precision,
    metric_names,
    sorted_names,
    summarize,
    user_metrics,
)
from dlerse_jax.reporting.checks import check_result
from dlerse_jax.reporting.names import differing_keys, names_of, shorten, task_words
from dlerse_jax.runs.records import Run, flat_config, named_config, validation_precision
from dlerse_jax.types import Evaluation

# Agents that every panel shows, whatever their rank: what the others are compared with.
REFERENCE_AGENTS = ("random", "popularity")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """An agent under one group of settings: what is compared."""

    name: str
    agent: str
    settings: dict[str, object]  # flat keys of its config, of which some reach it
    evaluations: dict[int, Evaluation]  # by split; empty for protocol `ranking`
    stored: dict[int, dict]  # summaries of summary.json, by split
    validation: dict[int, float]  # precision of validation users, by split
    seeds: dict[int, tuple[int, ...]]  # root seeds in the rows of an evaluation
    runs: list[Run]  # its own runs; none for a baseline evaluated beside another

    def summary(self) -> dict:
        """Summary over all splits: from the evaluations, else from what is stored."""
        if self.evaluations:
            return summarize(*self.evaluations.values())
        return average_summaries(list(self.stored.values()))

    def tables(self, metric: str) -> list[np.ndarray]:
        """A metric of every user, [S, B] per split, by rising split."""
        return [user_metrics(e)[metric] for _, e in sorted(self.evaluations.items())]

    def users(self) -> list[np.ndarray]:
        """Who was evaluated on, [B] per split, by rising split."""
        return [e.users for _, e in sorted(self.evaluations.items())]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that was measured on one data set under one protocol."""

    dataset: str
    protocol: str  # with its setting: "cold_candidates, r = 3"
    task: str  # task settings that set it apart from other comparisons; mostly ""
    contenders: dict[str, Contender]  # best first by the claim
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

    @functools.cached_property
    def claim(self) -> str | None:
        """The metric that the comparison asks for, and is sorted by.

        The reward at the alpha that all who learn learn by, where that is above 0 and
        measured; else the precision over the longest list.
        """
        alphas = {flat_config(run).get("reward.alpha", 0.0) for run in self.runs}
        if len(alphas) == 1 and (alpha := alphas.pop()) in ALPHAS[1:]:
            return f"reward_alpha_{alpha:g}"
        return longest_precision(self.metrics)

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
            # One call: the draws are shared.
            users = self.contenders[first].users()
            wins = win_probability(own, reference, users=users)
            bounds = np.stack([wins.mean, wins.low, wins.high], axis=1).tolist()
            for second, (mean, low, high) in zip(others, bounds, strict=True):
                cells[first, second] = {"mean": mean, "low": low, "high": high}
                reverse = {"mean": 1 - mean, "low": 1 - high, "high": 1 - low}
                cells[second, first] = reverse
        return cells

    @functools.cached_property
    def paired(self) -> dict[str, list[np.ndarray]]:
        """Agent -> [S, B] precision per split, where evaluated on all of them.

        Best first, as the contenders. All were evaluated on the same users.
        """
        metric = f"precision_at_{self.longest_cutoff}"
        complete = [
            c for c in self.with_episodes() if len(c.evaluations) == self.num_splits
        ]
        return {
            c.name: c.tables(metric) for c in complete if share_users(complete[0], c)
        }

    def provenance(self) -> str:
        """Protocol, users, seeds and splits, and what an interval is: for captions."""
        summaries = self.summaries.values()
        users = f"{max(summary['num_users'] for summary in summaries):,} users"
        sources = interval_sources((s["num_seeds"] for s in summaries), self.num_splits)
        task = f" ({self.task})" if self.task else ""
        return (
            f"Data set {self.dataset}, protocol {self.protocol}{task}: {users}."
            f" Whiskers, bands and brackets are 95% intervals of the mean {sources}"
            " (users resampled, one user of several splits as one; seeds and training"
            " sets by Student's t)."
        )


def share_users(first: Contender, second: Contender) -> bool:
    """Whether both have the same users in every split, so that they can be paired."""
    return first.evaluations.keys() == second.evaluations.keys() and all(
        map(np.array_equal, first.users(), second.users())
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
    """One comparison for each data set, protocol and task of the finished runs.

    ValueError names a summary.json that lacks what every summary has.
    """
    by_protocol = collections.defaultdict(list)
    for run in runs:
        if run.finished:
            check_result(run)
            by_protocol[shorten(run.result["dataset"]), run.protocol].append(run)
    groups = collections.defaultdict(list)
    for key, peers in by_protocol.items():
        keys = differing_keys(peers)
        for run in peers:
            groups[*key, task_words(run, keys)].append(run)
    apart = [part for group in groups.items() for part in _by_content(*group)]
    return [
        _comparison(*key, group)
        for key, group in sorted(apart, key=operator.itemgetter(0))
    ]


def _by_content(
    key: tuple[str, str, str], runs: Sequence[Run]
) -> Iterator[tuple[tuple[str, str, str], list[Run]]]:
    """Runs whose data had the same content: those of a split, else they are named."""
    digests = collections.defaultdict(set)
    for run in runs:
        digests[run.result["split"]].add(_digest(run))
    groups = collections.defaultdict(list)
    for run in runs:
        known = digests[run.result["split"]] - {""}
        groups[f"data {_digest(run)[:8]}" if len(known) > 1 else ""].append(run)
    for content, group in groups.items():
        yield (*key[:2], ", ".join(filter(None, [key[2], content]))), group


def _digest(run: Run) -> str:
    """Of the content of the run's data; "" where an old run does not say it."""
    return str(run.settings.get("data_digest") or "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Entry:
    """One agent on one split, from its own run or beside another."""

    agent: str
    run: Run  # where it stands
    is_own: bool
    summary: dict
    evaluation: Evaluation | None
    validation: float | None

    @property
    def seeds(self) -> tuple[int, ...]:
        config = flat_config(self.run)
        count = 0 if self.evaluation is None else len(self.evaluation.items)
        return tuple(range(config.get("seed", 0), config.get("seed", 0) + count))


def _entries(run: Run) -> Iterator[_Entry]:
    found = validation_precision(run)
    yield _Entry(
        agent=run.agent,
        run=run,
        is_own=True,
        summary=run.result["summary"],
        evaluation=run.evaluation,
        validation=found and found[1],
    )
    validation = run.result.get("baselines_validation") or {}
    for agent, summary in run.result.get("baselines", {}).items():
        yield _Entry(
            agent=agent,
            run=run,
            is_own=False,
            summary=summary,
            evaluation=run.baselines.get(agent),
            validation=validation.get(agent),
        )


def _comparison(dataset: str, protocol: str, task: str, runs: list[Run]) -> Comparison:
    contenders = _contenders(runs)
    summaries = {name: contender.summary() for name, contender in contenders.items()}
    comparison = Comparison(
        dataset=dataset,
        protocol=protocol,
        task=task,
        contenders=contenders,
        summaries=summaries,
        runs=runs,
    )
    best_first = sorted_names(summaries, comparison.claim)
    return dataclasses.replace(
        comparison,
        contenders={name: contenders[name] for name in best_first},
        summaries={name: summaries[name] for name in best_first},
    )


def _contenders(runs: Sequence[Run]) -> dict[str, Contender]:
    """Who is compared, by name; an own run goes before the same agent beside one."""
    entries = [entry for run in runs for entry in _entries(run)]
    names = names_of([(entry.agent, named_config(entry.run)) for entry in entries])
    contenders: dict[str, Contender] = {}
    in_order = sorted(zip(entries, names, strict=True), key=lambda x: not x[0].is_own)
    for entry, name in in_order:
        _add(contenders.setdefault(name, _new_contender(name, entry)), entry)
    return contenders


def _new_contender(name: str, entry: _Entry) -> Contender:
    return Contender(
        name=name,
        agent=entry.agent,
        settings=flat_config(entry.run),
        evaluations={},
        stored={},
        validation={},
        seeds={},
        runs=[],
    )


def _add(contender: Contender, entry: _Entry) -> None:
    """Adds one outcome; a second run on the same split adds its seeds."""
    split = entry.run.result["split"]
    if entry.validation is not None:
        contender.validation.setdefault(split, entry.validation)
    if not entry.is_own and split in contender.stored:
        return  # the same agent, beside another run
    if entry.is_own:
        contender.runs.append(entry.run)
    contender.stored.setdefault(split, entry.summary)
    if entry.evaluation is None:
        return
    evaluation, seeds = entry.evaluation, entry.seeds
    held = contender.evaluations.get(split)
    if held is not None:
        evaluation = _join_seeds(held, evaluation)
        seeds = contender.seeds[split] + seeds
    contender.evaluations[split], contender.seeds[split] = evaluation, seeds


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
