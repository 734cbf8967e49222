"""Tables of docs/case-study.md: what stands between its marks comes from the JSON."""

import re
from collections.abc import Sequence
from typing import Any

from dlerse_jax.evaluation.summary import interval_text
from dlerse_jax.reporting.effects import signed
from dlerse_jax.reporting.tables import markdown_table

ARMS = ("friends", "answers", "not personal")
PLACE = re.compile(r"(<!-- case study: (\w+) -->\n).*?(<!-- end -->)", re.S)
SHOWN_POSITIONS = (1, 2, 3, 5, 10, 11, 15, 20)
Row = dict[str, Any]


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
