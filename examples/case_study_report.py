"""What the week of `case_study.py` says: its numbers, and the files that hold them.

    python examples/case_study_report.py runs/case_study/week.json

Shares are means over newcomers of each one's own share; 95% intervals are of the
bootstrap over newcomers (`evaluation.bootstrap`). The week's arms hold different
people, so their differences are unpaired: both arms are drawn again, independently.
Where the same people are in every arm, differences are taken within a person first.
"""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from case_study_figures import draw_figures
from case_study_page import ARMS, filled

from dlerse_jax.evaluation.bootstrap import BOUNDS, NUM_RESAMPLES, bootstrap_interval
from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.server.events import read_events

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "case-study.json"
PAGE = ROOT / "docs" / "case-study.md"
FIGURES = ROOT / "docs" / "figures"
FRIEND_GROUPS = {"none": (0, 0), "1-2": (1, 2), "3-5": (3, 5), "6 or more": (6, 99)}
PACKAGES = ("dlerse_jax", "jax", "flax", "numpy", "fastapi", "uvicorn")
FEWEST = 5  # newcomers behind a number that is shown
Row = dict[str, Any]


# --- numbers --------------------------------------------------------------------------


def by_newcomer(rows: Iterable[Row], value: str = "liked") -> np.ndarray:
    """Each newcomer's mean: [B], in order of appearance."""
    values = defaultdict(list)
    for row in rows:
        values[row["newcomer"]].append(float(row[value]))
    return np.array([np.mean(each) for each in values.values()])


def share(rows: Iterable[Row]) -> Row:
    """Mean over newcomers with its interval; None where there are too few of them."""
    means = by_newcomer(rows)
    if len(means) < FEWEST:
        return {"newcomers": len(means), "mean": None, "low": None, "high": None}
    bounds = {name: min(1.0, max(0.0, x)) for name, x in interval(means).items()}
    return {"newcomers": len(means), **bounds}


def interval(means: np.ndarray) -> Row:
    """Of the mean of [B] numbers, one per newcomer."""
    found = bootstrap_interval(means[None])
    return {name: float(getattr(found, name)) for name in ("mean", "low", "high")}


def unpaired_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Row:
    """mean(first) - mean(second) of different people, [B1] and [B2]."""
    rng = np.random.default_rng(seed)
    draws = [
        each[rng.integers(len(each), size=(NUM_RESAMPLES, len(each)))].mean(axis=1)
        for each in (first, second)
    ]
    low, high = np.percentile(draws[0] - draws[1], BOUNDS)
    mean = first.mean() - second.mean()
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


def of_arms(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups = grouped(rows, lambda row: row["arm"])
    return {arm: groups[arm] for arm in ARMS if arm in groups}


def friend_group(row: Row) -> str:
    return next(
        name
        for name, (least, most) in FRIEND_GROUPS.items()
        if least <= row["friends"] <= most
    )


def shares_of_arms(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    """arm -> a share for each value of a column, ascending."""
    return {
        arm: [
            {key: value, **share(some)}
            for value, some in sorted(grouped(theirs, lambda row: row[key]).items())
        ]
        for arm, theirs in of_arms(rows).items()
    }


PAIRS = (
    ("friends", "answers"),
    ("answers", "not personal"),
    ("friends", "not personal"),
)


def differences(rows: Sequence[Row]) -> list[Row]:
    """Between arms of different people."""
    means = {arm: by_newcomer(theirs) for arm, theirs in of_arms(rows).items()}
    return [
        {"first": a, "second": b, **unpaired_difference(means[a], means[b])}
        for a, b in PAIRS
    ]


def paired_differences(rows: Sequence[Row]) -> list[Row]:
    """Between arms of the same people, who come in the same order."""
    means = {
        arm: by_newcomer(sorted(theirs, key=lambda row: row["person"]))
        for arm, theirs in of_arms(rows).items()
    }
    return [
        {"first": a, "second": b, **interval(means[a] - means[b])} for a, b in PAIRS
    ]


def newcomers_needed(rows: Sequence[Row], difference: float) -> int:
    """In each of two arms, to see a difference of friends and answers by chance .8.

    For the variances of these rows and a two-sided, unpaired test at 5 %:
    (1.96 + 0.84)^2 (var + var) / difference^2.
    """
    arms = of_arms(rows)
    variance = sum(by_newcomer(arms[arm]).var(ddof=1) for arm in ("friends", "answers"))
    return math.ceil(7.85 * variance / max(abs(difference), 1e-3) ** 2)


def by_friends(rows: Sequence[Row]) -> list[Row]:
    """First visits of people who are in every arm, by how many friends they named."""
    first = [row for row in rows if row["visit"] == 1]
    named = {row["person"]: friend_group(row) for row in of_arms(first)["friends"]}
    groups = grouped(first, lambda row: named[row["person"]])
    return [
        {
            "friends": name,
            "arms": {arm: share(some) for arm, some in of_arms(groups[name]).items()},
            "gain": paired_differences(groups[name])[0],
        }
        for name in FRIEND_GROUPS
        if name in groups
    ]


def latencies(times: Sequence[tuple[str, float]]) -> list[Row]:
    kinds = ["all", *dict.fromkeys(kind for kind, _ in times)]
    lines = []
    for kind in kinds:
        some = [1000 * seconds for other, seconds in times if kind in ("all", other)]
        p50, p99 = np.percentile(some, (50, 99))
        lines.append(
            {"request": kind, "count": len(some), "p50_ms": p50, "p99_ms": p99}
        )
    return lines


# --- the log --------------------------------------------------------------------------


def judged_policies(events: Sequence[Row], likes: dict[str, set]) -> list[Row]:
    """Two policies from the log of the one that ran, beside what they would have got.

    For each answered item: weight = chance under the policy / logged propensity, the
    estimate is the mean of weight * liked (inverse propensity scoring, one position
    each, in the states that the logged policy reached). `truth` looks up what the
    newcomer thinks of the policy's own choice; the log cannot know that.
    likes: session -> items.
    """
    answers = {
        event["recommendation_id"]: event["liked"]
        for event in events
        if event["event"] == "answered"
    }
    lists = [
        event
        for event in events
        if event["event"] == "shown"
        and event["personal"]
        and event["recommendation_id"] in answers
    ]
    judged = []
    for policy, chances in POLICIES.items():
        rows = [
            _judged(each, answers[each["recommendation_id"]], likes, chances)
            for each in lists
        ]
        parts = {name: interval(by_newcomer(rows, name)) for name in JUDGED}
        judged.append({"policy": policy, **parts})
    return judged


def _judged(event: Row, liked: bool, likes: dict[str, set], chances: Callable) -> Row:
    """One answered list of one item."""
    names = [candidate["item"] for candidate in event["candidates"]]
    chance = chances(len(names))
    shown = event["items"][0]
    weight = chance[names.index(shown["item"])] / shown["propensity"]
    theirs = np.array([name in likes[event["session"]] for name in names])
    estimate, truth = weight * liked, float(chance @ theirs)
    return {
        "newcomer": event["session"],
        "liked": liked,
        "estimate": estimate,
        "truth": truth,
        "error": estimate - truth,
    }


POLICIES: dict[str, Callable[[int], np.ndarray]] = {
    "always the best item": lambda count: np.eye(count)[0],
    "any of the 20 best, each alike": lambda count: np.full(count, 1 / count),
}


JUDGED = ("liked", "estimate", "truth", "error")


def told_of_log(events: Sequence[Row]) -> Row:
    shown = [event for event in events if event["event"] == "shown"]
    counts = Counter(event["event"] for event in events)
    chances = [event["items"][0]["propensity"] for event in shown]
    return {
        "shown": counts["shown"],
        "answered": counts["answered"],
        "subjects": len({event["subject"] for event in shown}),
        "least_propensity": min(chances),
        "explored": float(np.mean([chance < 0.5 for chance in chances])),
        "models": len({event["model"] for event in events}),
    }


def numbers(story: Row, events: Sequence[Row]) -> Row:
    """All that is reported of a week."""
    rows, newcomers = story["rows"], story["newcomers"]
    again = story["rows_in_every_arm"]
    paired = paired_differences(again)
    likes = {one["name"]: set(one["likes"]) for one in newcomers}
    of_session = {row["session"]: likes[row["newcomer"]] for row in rows}
    events = [event for event in events if event["session"] in of_session]
    return {
        "newcomers": dict(Counter(one["arm"] for one in newcomers)),
        "came_back": sum(one["back"] is not None for one in newcomers),
        "answers": len(rows),
        "by_arm": {arm: share(theirs) for arm, theirs in of_arms(rows).items()},
        "differences": differences(rows),
        "by_day": shares_of_arms(rows, "day"),
        "by_visit": shares_of_arms(rows, "visit"),
        "in_every_arm": {
            "by_arm": {arm: share(theirs) for arm, theirs in of_arms(again).items()},
            "differences": paired,
            "newcomers_needed": {
                name: newcomers_needed(again, paired[0][name])
                for name in ("mean", "low", "high")
            },
            "by_friends": by_friends(again),
            "by_position": shares_of_arms(again, "position"),
        },
        "latency": latencies(story["times"]),
        "training": story["training"],
        "server": story["server"],
        "ready_again_seconds": story["ready_again_seconds"],
        "log": told_of_log(events),
        "policies": judged_policies(events, of_session),
    }


def surroundings() -> Row:
    """Where and when: for whoever wants to compare."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "load_average": round(os.getloadavg()[1], 1),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


# --- files ----------------------------------------------------------------------------


def write_report(story: Row) -> None:
    """Numbers, figures and tables to where the repository keeps them."""
    events = list(read_events(story["events"]))
    results = {**story["where"], **numbers(story, events)}
    write_atomically(RESULTS, (json.dumps(results, indent=1) + "\n").encode())
    draw_figures(results, FIGURES)
    write_atomically(PAGE, filled(PAGE.read_text(), results).encode())


if __name__ == "__main__":
    write_report(json.loads(Path(sys.argv[1]).read_text()))
