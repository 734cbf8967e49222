"""How agents compare with the bar: the best policy without learning.

The bar is chosen on validation users, where runs have their results on these; where
none does, it is the best on test users, and every table says so. Differences and ratios
are paired: the same users, and the same seeds where both agents had them.
"""

import collections
import dataclasses
from collections.abc import Sequence

from dlerse_jax.agents import registry
from dlerse_jax.evaluation.bootstrap import Interval, paired_difference, paired_ratio
from dlerse_jax.evaluation.multiple_tests import LEVEL, MOST_ROWS, holm
from dlerse_jax.evaluation.summary import best_of, interval_text, metric_title
from dlerse_jax.reporting.comparison import Comparison, Contender, share_users

PHASES = {"start": "start", "pretrain": "pre-training", "q_learning": "Q-learning"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """The best policy without learning, by name, and who chose it."""

    name: str
    on_validation: bool

    def words(self) -> str:
        """For captions: the bar and how it was chosen."""
        users = "validation users" if self.on_validation else "test users, as no run"
        rest = "" if self.on_validation else " says how validation users were served"
        return f"Bar (*): {self.name}, the best without learning on {users}{rest}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """An agent against the bar: intervals as JSON has them, and p-values."""

    difference: dict[str, float]  # of the claim
    ratio: dict[str, float] | None  # of precision; None where that is no claim's kind
    p_value: float  # that the difference is 0
    p_holm: float  # adjusted for all rows of the table


def find_bar(comparison: Comparison) -> Bar | None:
    """The bar of a comparison; None without a policy that does not learn."""
    able = {
        name: contender
        for name, contender in comparison.contenders.items()
        if contender.agent in registry.CLASSICAL
        and len(contender.stored) == comparison.num_splits
    }
    validated = {
        name: sum(contender.validation.values())
        for name, contender in able.items()
        if len(contender.validation) == comparison.num_splits
    }
    if validated:
        return Bar(name=max(validated, key=validated.get), on_validation=True)
    best = best_of(able, comparison.summaries, comparison.claim)
    return Bar(name=best, on_validation=False) if best else None


def effects(comparison: Comparison, bar: Bar | None) -> dict[str, Effect]:
    """Every agent that can be paired with the bar, except the bar: name -> effect."""
    held = bar and comparison.contenders[bar.name]
    if not held or not held.evaluations or not comparison.longest_cutoff:
        return {}
    others = [
        contender
        for contender in comparison.contenders.values()
        if contender is not held and share_users(contender, held)
    ]
    differences = [difference(c, held, comparison.claim) for c in others]
    adjusted = holm([float(d.p_value) for d in differences])
    precision = f"precision_at_{comparison.longest_cutoff}"
    return {
        contender.name: Effect(
            difference=as_dict(gap),
            ratio=as_dict(ratio(contender, held, precision)),
            p_value=float(gap.p_value),
            p_holm=float(p_holm),
        )
        for contender, gap, p_holm in zip(others, differences, adjusted, strict=True)
    }


def difference(first: Contender, second: Contender, metric: str) -> Interval:
    """first less second, by a metric, on the same users."""
    return _paired(paired_difference, first, second, metric)


def ratio(first: Contender, second: Contender, metric: str) -> Interval:
    """first over second, by a metric, on the same users."""
    return _paired(paired_ratio, first, second, metric)


def _paired(compare, first: Contender, second: Contender, metric: str) -> Interval:
    several = any(len(seeds) > 1 for seeds in first.seeds.values())
    return compare(
        first.tables(metric),
        second.tables(metric),
        users=first.users(),
        same_seeds=several and first.seeds == second.seeds,
    )


def as_dict(interval: Interval) -> dict[str, float]:
    """mean, low and high, as summaries have them."""
    return {key: float(getattr(interval, key)) for key in ("mean", "low", "high")}


def signed(interval: dict | None) -> str:
    """`+mean [low, high]` with signs; a dash where there is no number."""
    if interval is None or interval_text(interval) == "-":
        return "-"
    return "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**interval)


def headline(comparison: Comparison) -> str:
    """The best agent, its lead over the next and over the bar, on the same users."""
    names = list(comparison.paired)
    if len(names) < 2:
        return ""
    first, second = (comparison.contenders[name] for name in names[:2])
    lead = difference(first, second, comparison.claim)
    clear = "a clear lead" if lead.low > 0 else "not a clear lead"
    return (
        f"Highest {metric_title(comparison.claim)}: {first.name},"
        f" {signed(as_dict(lead))} over {second.name}, {clear} (paired users)."
        f" {_ratio_to_the_bar(comparison, first)}"
    )


def _ratio_to_the_bar(comparison: Comparison, best: Contender) -> str:
    bar = find_bar(comparison)
    if bar is None or bar.name in (best.name, *REFERENCES_ALONE):
        return ""
    held = comparison.contenders[bar.name]
    if not share_users(best, held):
        return ""
    metric = f"precision_at_{comparison.longest_cutoff}"
    worth = as_dict(ratio(best, held, metric))
    return (
        f"Ratio of {best.name} to the bar, {bar.name}, by {metric_title(metric)}:"
        f" {interval_text(worth)}. "
    )


REFERENCES_ALONE = ("random",)  # nothing is said of a lead over this


def holm_note(found: dict[str, Effect]) -> str:
    """Of a table with many rows: who differs from the bar after Holm's adjustment."""
    if len(found) <= MOST_ROWS:
        return ""
    clear = [name for name, effect in found.items() if effect.p_holm < LEVEL]
    return (
        f" {len(found)} agents are compared with the bar at once: p is Holm's, and"
        f" {len(clear)} of them differ{'s' * (len(clear) == 1)} from it at the"
        f" {LEVEL:.0%} level{': ' * bool(clear)}{', '.join(clear)}."
    )


# --- where a row was taken, and what it read ------------------------------------------


def taken_at(contender: Contender) -> str:
    """Phase and updates of the parameters that were evaluated; a dash if untrained."""
    updates, words = collections.defaultdict(set), set()
    for run in contender.runs:
        words.add(run.result.get("select", ""))
        for place in run.result.get("selected") or ():
            updates[place["phase"]].add(place["update"])
    text = "; ".join(
        _updates(PHASES.get(phase, phase), sorted(found))
        for phase, found in sorted(updates.items(), key=lambda pair: min(pair[1]))
    )
    return f"{text} (any phase)" if text and "any_phase" in words else text or "-"


def _updates(phase: str, updates: Sequence[int]) -> str:
    if updates[-1] == 0:
        return phase
    few, most = updates[0], updates[-1]
    return f"{phase}, update {few}" + (f" to {most}" if most > few else "")


def inputs(contender: Contender) -> str:
    """What an agent reads of training users; a dash for nothing.

    Agents that the registry does not know, of other versions, have a dash too.
    """
    if contender.agent not in registry.AGENTS:
        return "-"
    return ", ".join(registry.inputs_read(contender.agent, contender.settings)) or "-"
