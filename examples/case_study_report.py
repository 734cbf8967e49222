"""What the week of `case_study.py` says: numbers, and the tables of the page.

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
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from case_study_figures import draw_figures

from dlerse_jax.evaluation.bootstrap import BOUNDS, NUM_RESAMPLES, bootstrap_interval
from dlerse_jax.evaluation.summary import interval_text
from dlerse_jax.reporting.effects import signed
from dlerse_jax.reporting.tables import markdown_table
from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.server.events import read_events

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "case_study.json"
PAGE = ROOT / "docs" / "case-study.md"
FIGURES = ROOT / "docs" / "figures"
PLACE = re.compile(r"(<!-- case study: (\w+) -->\n).*?(<!-- end -->)", re.S)
ARMS = ("friends", "answers", "not personal")
FRIEND_GROUPS = {"none": (0, 0), "1-2": (1, 2), "3-5": (3, 5), "6 or more": (6, 99)}
PACKAGES = ("dlerse_jax", "jax", "flax", "numpy", "fastapi", "uvicorn")
SHOWN_POSITIONS = (1, 2, 3, 5, 10, 11, 15, 20)
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


# --- the page -------------------------------------------------------------------------


def tables(results: Row) -> dict[str, str]:
    """Name of a place in the page -> what belongs there."""
    again = results["in_every_arm"]
    return {
        "arms": _arms_table(results),
        "differences": _differences_table(results),
        "days": _wide_table(results["by_day"], "day"),
        "positions": _wide_table(again["by_position"], "position", SHOWN_POSITIONS),
        "friends": _friends_table(again["by_friends"]),
        "latency": markdown_table(
            ["request", "count", "p50, ms", "p99, ms"],
            [
                (r["request"], r["count"], f"{r['p50_ms']:.1f}", f"{r['p99_ms']:.1f}")
                for r in results["latency"]
            ],
        ),
        "cost": _cost_table(results),
        "log": _log_table(results["log"]),
        "policies": markdown_table(
            ["policy", "from the log", "true", "log less truth"],
            [
                (
                    policy["policy"],
                    *(interval_text(policy[part]) for part in ("estimate", "truth")),
                    signed(policy["error"]),
                )
                for policy in results["policies"]
            ],
        ),
        "where": _where(results),
    }


def _arms_table(results: Row) -> str:
    visits = results["by_visit"]
    rows = [
        (
            arm,
            found["newcomers"],
            interval_text(found),
            *map(interval_text, visits[arm]),
        )
        for arm, found in results["by_arm"].items()
    ]
    header = ["arm", "newcomers", "share of likes", "first visit", "second visit"]
    return markdown_table(header, rows)


def _differences_table(results: Row) -> str:
    pairs = zip(
        results["differences"], results["in_every_arm"]["differences"], strict=True
    )
    rows = [
        (f"{week['first']} - {week['second']}", signed(week), signed(again))
        for week, again in pairs
    ]
    table = markdown_table(["arms", "the week, unpaired", "in every arm, paired"], rows)
    needed = results["in_every_arm"]["newcomers_needed"]
    return (
        f"{table}\nTo see a difference between friends and answers as large as the"
        " paired one (unpaired, at 5 %, with a power of 80 %), a week needs"
        f" {needed['mean']:,} newcomers in each of the two arms; {needed['high']:,} and"
        f" {needed['low']:,} for the bounds of its interval.\n"
    )


def _friends_table(groups: Sequence[Row]) -> str:
    rows = [
        (
            group["friends"],
            group["arms"]["friends"]["newcomers"],
            *(interval_text(group["arms"][arm]) for arm in ARMS),
            signed(group["gain"]),
        )
        for group in groups
    ]
    header = ["friends named", "newcomers", *ARMS, "friends - answers"]
    return markdown_table(header, rows)


def _wide_table(
    by_arm: dict[str, list[Row]], key: str, shown: Sequence[int] = ()
) -> str:
    """A row for each day or position, a column for each arm."""
    cells = {arm: {one[key]: one for one in points} for arm, points in by_arm.items()}
    places = sorted({one[key] for points in by_arm.values() for one in points})
    rows = [
        (place, *(_with_count(cells[arm].get(place)) for arm in by_arm))
        for place in places
        if not shown or place in shown
    ]
    return markdown_table([key, *by_arm], rows)


def _with_count(found: Row | None) -> str:
    return "-" if found is None else f"{interval_text(found)} ({found['newcomers']})"


def _cost_table(results: Row) -> str:
    training, server = results["training"], results["server"]
    answers = results["answers"]
    mib = 1 << 20
    rows = [
        ("training, evaluation included", f"{training['seconds']:.0f} s"),
        ("its CPU time", f"{training['cpu_seconds']:.0f} s"),
        ("its memory, at most", f"{training['peak_mib']:,} MiB"),
        ("server, start to ready, nothing cached", f"{server['ready_seconds']:.0f} s"),
        ("server, start to ready, again", f"{results['ready_again_seconds']:.0f} s"),
        ("server, the week", f"{server['week_seconds']:.1f} s"),
        ("its CPU time for the week", f"{server['week_cpu_seconds']:.1f} s"),
        ("of it per answer", f"{1000 * server['week_cpu_seconds'] / answers:.1f} ms"),
        ("its memory, at most", f"{server['peak_mib']:,} MiB"),
        ("log", f"{server['log_bytes'] / mib:.1f} MiB"),
        ("log per answer", f"{server['log_bytes'] / answers:,.0f} bytes"),
        ("database of sessions", f"{server['database_bytes'] / mib:.2f} MiB"),
        ("exported Parquet", f"{server['parquet_bytes'] / mib:.2f} MiB"),
    ]
    return markdown_table(["what", "measured"], rows)


def _log_table(log: Row) -> str:
    rows = [
        ("items shown", f"{log['shown']:,}"),
        ("answered", f"{log['answered']:,}"),
        ("people, by pseudonym", f"{log['subjects']:,}"),
        ("models", log["models"]),
        ("items that exploration chose, not the best", f"{log['explored']:.3f}"),
        ("smallest propensity", f"{log['least_propensity']:.3f}"),
    ]
    return markdown_table(["in the log", ""], rows)


def _where(results: Row) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    return (
        f"{results['date']}; {results['processor']},"
        f" {results['cores']} cores, load average {results['load_average']};"
        f" python {results['python']}, {versions}.\n"
    )


def filled(page: str, results: Row) -> str:
    """The page with what its places are to hold. KeyError for an unknown place."""
    made = tables(results)
    return PLACE.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", page)


def write_report(story: Row) -> None:
    """Numbers, figures and tables to where the repository keeps them."""
    events = list(read_events(story["events"]))
    results = {**story["where"], **numbers(story, events)}
    write_atomically(RESULTS, (json.dumps(results, indent=1) + "\n").encode())
    draw_figures(results, FIGURES)
    write_atomically(PAGE, filled(PAGE.read_text(), results).encode())


if __name__ == "__main__":
    write_report(json.loads(Path(sys.argv[1]).read_text()))
