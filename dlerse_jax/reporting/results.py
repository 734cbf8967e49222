"""Results that are committed: what a folder of runs measured, as one JSON file.

`dlerse report --export=results/NAME.json RUNS...` writes it, `result_pages.py` makes
the tables of the documentation from it. Format 1:

    {"format": 1,
     "question": "...", "command": "dlerse sweep ...",      named at the export
     "commit": ["0123456789", ...], "machine": ["...", ...],  of the runs, each once
     "versions": {"jax": ["0.10.2"], ...}, "date": ["2026-11-28", ...],
     "tables": [
       {"dataset": "lastfm", "protocol": "cold", "task": "", "splits": [0, 1],
        "num_users": 374, "intervals": "over users of 2 splits, one seed each",
        "sorted_by": "precision_at_32",
        "bar": {"agent": "linear", "on_validation": true} or null,
        "columns": {"reward_alpha_0": "reward", "precision_at_1": "P@1", ...},
        "rows": [
          {"agent": "dlerse_con (alpha=0.1)", "taken_at": "Q-learning, update 40",
           "reads": "likes, friends", "num_seeds": 2, "num_users": 374,
           "metrics": {"precision_at_32": {"mean": .34, "low": .32, "high": .36}, ...},
           "less_bar": {"mean": ..., "low": ..., "high": ..., "p": ..., "p_holm": ...},
           "ratio_to_bar": {"mean": ..., "low": ..., "high": ...}}]}]}

Rows are sorted by the claim, best first. less_bar and ratio_to_bar are null for the bar
and for what cannot be paired with it. Numbers have six decimals.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from dlerse_jax.evaluation.summary import interval_sources
from dlerse_jax.reporting.comparison import Comparison, compare_runs
from dlerse_jax.reporting.effects import Effect, effects, find_bar, inputs, taken_at
from dlerse_jax.reporting.tables import device_text, main_columns
from dlerse_jax.runs.directory import read_json
from dlerse_jax.runs.records import Run, find_runs
from dlerse_jax.runtime.atomic_files import write_atomically

FORMAT = 1
DECIMALS = 6
GIVEN = ("question", "command")  # what no run knows
FIELDS = (*GIVEN, "commit", "machine", "versions", "date", "tables")


def export_results(path: Path, directories: Sequence[Path], **given: str) -> dict:
    """Writes and returns what the finished runs in directories measured.

    given: question and command; an empty one is taken from the file that is replaced.
    ValueError where neither says one, FileNotFoundError where there is no run.
    """
    former = read_results(path) if path.exists() else {}
    given = {key: given.get(key) or former.get(key, "") for key in GIVEN}
    for key, words in given.items():
        if not words:
            raise ValueError(f"--{key} is missing: {path} has none yet")
    runs = [run for directory in directories for run in find_runs(directory)]
    finished = [run for run in runs if run.finished]
    if not finished:
        raise ValueError(f"no run in {directories[0]} is finished yet")
    results = {"format": FORMAT} | given | _provenance(finished)
    results["tables"] = [_table(comparison) for comparison in compare_runs(finished)]
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())
    return results


def read_results(path: Path) -> dict:
    """What a file of results holds; ValueError where it is of another format."""
    mend = f"make it again with `dlerse report --export={path} RUNS...`"
    results = read_json(path, mend=mend)
    absent = [field for field in FIELDS if field not in results]
    if results.get("format") != FORMAT or absent:
        problem = f"no {', '.join(absent)}" if absent else "another format"
        raise ValueError(f"{path}: {problem} in results of format {FORMAT}; {mend}")
    return results


def _provenance(runs: Sequence[Run]) -> dict:
    """commit, machine, versions and date of the runs, each value once."""
    settings = [run.settings for run in runs]
    names = dict.fromkeys(name for s in settings for name in s.get("versions", {}))
    return {
        "commit": _once(str(s.get("git_commit", "unknown"))[:10] for s in settings),
        "machine": _once(device_text(s.get("device", "unknown")) for s in settings),
        "versions": {
            name: _once(str(s.get("versions", {}).get(name)) for s in settings)
            for name in names
        },
        "date": _once(str(s.get("created", "unknown"))[:10] for s in settings),
    }


def _once(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


def _table(comparison: Comparison) -> dict:
    bar = find_bar(comparison)
    found = effects(comparison, bar)
    summaries = comparison.summaries
    return {
        "dataset": comparison.dataset,
        "protocol": comparison.protocol,
        "task": comparison.task,
        "splits": sorted({s for c in comparison.contenders.values() for s in c.stored}),
        "num_users": max(summary["num_users"] for summary in summaries.values()),
        "intervals": interval_sources(
            (summary["num_seeds"] for summary in summaries.values()),
            comparison.num_splits,
        ),
        "sorted_by": comparison.claim,
        "bar": bar and {"agent": bar.name, "on_validation": bar.on_validation},
        "columns": main_columns(comparison),
        "rows": [_row(comparison, name, found.get(name)) for name in summaries],
    }


def _row(comparison: Comparison, name: str, effect: Effect | None) -> dict:
    contender, summary = comparison.contenders[name], comparison.summaries[name]
    less_bar = ratio = None
    if effect:
        less_bar = effect.difference | {"p": effect.p_value, "p_holm": effect.p_holm}
        ratio = effect.ratio
    return {
        "agent": name,
        "taken_at": taken_at(contender),
        "reads": inputs(contender),
        "num_seeds": summary["num_seeds"],
        "num_users": summary["num_users"],
        "metrics": {k: _rounded(i) for k, i in summary["metrics"].items()},
        "less_bar": _rounded(less_bar),
        "ratio_to_bar": _rounded(ratio),
    }


def _rounded(numbers: dict | None) -> dict | None:
    """With six decimals; nothing but null where one of them is not finite."""
    if not numbers or any(x is None or not math.isfinite(x) for x in numbers.values()):
        return numbers and dict.fromkeys(numbers)
    return {key: round(value, DECIMALS) for key, value in numbers.items()}
