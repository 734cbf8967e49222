"""Two agents on the same users: paired difference and ratio, with 95 % intervals.

    python benchmarks/paired.py RUNS ... --first=NAME --second=NAME

RUNS are run directories or folders of them, over any number of splits; a name is the
one that `dlerse report` gives a row. Without names the rows are listed. One line per
metric: both means, first - second, and first / second where that is a ratio of counts.
"""

import argparse
from pathlib import Path

from dlerse_jax.evaluation.summary import longest_precision, metric_title, user_metrics
from dlerse_jax.reporting.comparison import Comparison, compare_runs
from dlerse_jax.reporting.effects import as_dict, difference, ratio, signed
from dlerse_jax.runs.records import find_runs

METRICS = ("precision_at_1", "precision_at_5", "reward_alpha_0", "reward_alpha_0.1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--first", default="")
    parser.add_argument("--second", default="")
    chosen = parser.parse_args()
    runs = [run for folder in chosen.runs for run in find_runs(folder) if run.finished]
    for comparison in compare_runs(runs):
        if {chosen.first, chosen.second} <= set(comparison.contenders):
            show(comparison, chosen.first, chosen.second)
        else:
            print("rows:", *comparison.contenders, sep="\n  ")


def show(comparison: Comparison, first: str, second: str) -> None:
    one, other = comparison.contenders[first], comparison.contenders[second]
    print(f"{first} less {second}, splits {sorted(one.seeds)}")
    known = user_metrics(next(iter(one.evaluations.values())))
    for metric in (*METRICS, longest_precision(known)):
        gap = difference(one, other, metric)
        line = f"  {metric_title(metric):16}{signed(as_dict(gap))}  p {gap.p_value:.3f}"
        if metric.startswith("precision"):
            line += "  ratio {mean:.3f} [{low:.3f}, {high:.3f}]".format(
                **as_dict(ratio(one, other, metric))
            )
        print(line)


if __name__ == "__main__":
    main()
