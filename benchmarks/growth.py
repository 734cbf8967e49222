"""How do dlerse_rank's time and memory grow with users and items together?

    python benchmarks/growth.py --sizes 2000 5000 10000 20000 50000 > growth.jsonl
    python benchmarks/growth.py --read growth.jsonl --figure docs/figures/growth.svg

Synthetic worlds with as many users as items, 20 likes and 8 friends per user. Each
size is a process of its own (`scaling.py --point`), and one JSON line. The last line
has the fitted exponents: slopes of log(quantity) on log(size) by least squares, with
the 95 % interval of Student's t around the line. What a start costs at any size, as
the compiler's memory, is in the quantities, so exponents of small worlds are too low:
`--from` leaves out sizes below it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

# Of a line of `scaling.py`: CPU seconds of all cores together, and GiB or MiB.
QUANTITIES = {
    "cpu_seconds": "an update, CPU seconds",
    "build_cpu_seconds": "its tables, CPU seconds",
    "tables_mib": "arrays of an update, MiB",
    "peak_mib": "peak memory, MiB",
}
SHAPE = ("batch=128", "horizon=32", "folds=2")
POINT = Path(__file__).with_name("scaling.py")


def measure(size: int, num_updates: int) -> dict:
    """The line of one size. RuntimeError with what the process said where it failed."""
    command = [sys.executable, str(POINT), "--agent=dlerse_rank"]
    command += [f"--updates={num_updates}", "--point"]
    command += [f"items={size}", f"users={size}", *SHAPE]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{answer.stderr[-2000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Slope of log(values) on log(sizes), with its 95 % interval; three sizes or more.

    ValueError for fewer: two points lie on a line whatever they are.
    """
    if len(sizes) < 3:
        raise ValueError(f"an exponent needs 3 sizes or more, got {len(sizes)}")
    line = stats.linregress(np.log(sizes), np.log(values))
    margin = stats.t.ppf(0.975, len(sizes) - 2) * line.stderr
    low, high = line.slope - margin, line.slope + margin
    numbers = {"slope": line.slope, "low": low, "high": high}
    return {name: round(float(number), 3) for name, number in numbers.items()}


def exponents(lines: Sequence[dict], smallest: int) -> dict:
    """Of every quantity, over sizes of `smallest` and more."""
    large = [line for line in lines if line["users"] >= smallest]
    sizes = [line["users"] for line in large]
    return {
        "from": smallest,
        "exponents": {
            name: exponent(sizes, [line[name] for line in large]) for name in QUANTITIES
        },
    }


def draw(lines: Sequence[dict], fitted: dict, path: str) -> None:
    """A panel per quantity: what was measured, and the fitted line with its slope."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from dlerse_jax.reporting.style import COLOURS, STYLE

    with matplotlib.rc_context(STYLE):
        figure, panels = plt.subplots(2, 2, figsize=(7.2, 5.4), sharex=True)
        sizes = np.array([line["users"] for line in lines])
        for panel, (name, title) in zip(panels.flat, QUANTITIES.items(), strict=True):
            values = np.array([line[name] for line in lines])
            found, fit = fitted["exponents"][name], sizes >= fitted["from"]
            level = (
                np.log(values[fit]).mean() - found["slope"] * np.log(sizes[fit]).mean()
            )
            slope, low, high = (found[key] for key in ("slope", "low", "high"))
            text = f"exponent {slope:.2f} [{low:.2f}, {high:.2f}]"
            line = np.exp(level + found["slope"] * np.log(sizes[fit]))
            panel.plot(sizes[fit], line, color=COLOURS[1], linestyle="--", label=text)
            panel.plot(sizes, values, "o", color=COLOURS[0])
            panel.set(xscale="log", yscale="log", title=title)
            for axis in (panel.xaxis, panel.yaxis):  # STYLE writes no powers of ten
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
                axis.set_minor_formatter(NullFormatter())
            panel.legend()
        for panel in panels[-1]:
            panel.set_xlabel("users, and as many items")
        figure.tight_layout()
        figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--updates", type=int, default=2, help="timed, of a size")
    parser.add_argument("--read", nargs="*", default=[], help="lines of earlier runs")
    parser.add_argument("--from", type=int, default=0, dest="smallest")
    parser.add_argument("--figure", help="where to draw what was measured")
    options = parser.parse_args()
    texts = [Path(file).read_text() for file in options.read]
    read = [json.loads(line) for text in texts for line in text.splitlines()]
    lines = [line for line in read if "exponents" not in line]
    for size in options.sizes:
        lines.append(measure(size, options.updates))
        print(json.dumps(lines[-1]), flush=True)
    lines.sort(key=lambda line: line["users"])
    if not options.figure and len(lines) < 3:
        return
    fitted = exponents(lines, options.smallest)
    print(json.dumps(fitted))
    if options.figure:
        draw(lines, fitted, options.figure)


if __name__ == "__main__":
    main()
