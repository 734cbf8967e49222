"""Kills commands at random moments and compares what is left at the end: `make kills`.

    python tests/kills.py [--train=50] [--sweep=20] [--search=10] [--pair=5]

Each trial runs a command on a tiny synthetic data set, sends it SIGKILL, SIGTERM or
SIGINT at a random moment, starts it again, up to three times, lets it end, and compares
its folder with that of an undisturbed run: metrics.jsonl without the clock, every array
of evaluation.npz and the figures of summary.json, to the bit. A pair is two processes
that are started together on one folder: one must be refused with one line, the other
must end as if it were alone. All trials share one cache of compiled programs, so that
most of a trial is not the compiler.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST_KILLS = 3
SECONDS = 600  # the most that one undisturbed command may take
CLOCKS = ("wall_seconds", "decisions_per_second", "peak_memory_bytes")
CLOCKS += ("update_seconds", "validation_seconds")
CLOCKS += ("time/update_seconds", "time/validation_seconds")
ENTRY = "import sys; from dlerse_command import main; sys.exit(main())"
EARLIEST = 0.5  # seconds: Python itself has started by then
CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from tiny import tiny_config

def get_config():
    config = tiny_config()
    config.evaluation.baselines = ("popularity",)
    config.pretrain.num_updates = config.q_learning.num_updates = 8
    return config
"""
SWEEP = """
BASE = {config!r}

def sweep(add, option=""):
    for alpha in (0.0, 0.1):
        add({{"reward.alpha": alpha}})
"""
SEARCH = """
BASE = {config!r}

def suggest(trial):
    return {{"q_learning.gamma": trial.suggest_float("gamma", 0.0, 0.9)}}
"""


def command(kind: str, inputs: Path, folder: Path) -> list[str]:
    """The command line of a trial; pairs train."""
    files = {"sweep": "--sweep", "search": "--search"}
    kind = "train" if kind == "pair" else kind
    source = f"{files.get(kind, '--config')}={inputs / f'{kind}.py'}"
    extra = ["--trials=2"] if kind == "search" else []
    start = [sys.executable, "-c", ENTRY, kind, source]
    return [*start, f"--workdir={folder}", "--quiet", *extra]


def start(arguments: list[str], log: Path) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    cache = log.parent / "cache"
    environment = os.environ | {
        "PYTHONPATH": paths,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": f"{cache / 'xla'}",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XDG_CACHE_HOME": f"{cache}",  # of exported programs
    }
    with log.open("a") as stream:
        return subprocess.Popen(
            arguments, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )


def killed_trial(arguments, log: Path, seconds: float, draws: random.Random) -> int:
    """Runs, kills and resumes until it ends -> how often it was hit."""
    hits = 0
    for _ in range(draws.randint(1, MOST_KILLS)):
        process = start(arguments, log)
        try:
            process.wait(draws.uniform(EARLIEST, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(draws.choice(SIGNALS))
            process.wait(SECONDS)
            hits += 1
        else:
            return hits
    process = start(arguments, log)
    if process.wait(SECONDS) != 0:
        raise RuntimeError(f"the last start failed: {log.read_text()[-500:]}")
    return hits


def paired_trial(arguments, log: Path) -> int:
    """Two processes at once: one is refused, the other ends."""
    logs = [log, log.with_suffix(".second")]
    processes = [start(arguments, path) for path in logs]
    ended = sorted(process.wait(SECONDS) for process in processes)
    if ended != [0, 2]:
        raise RuntimeError(
            f"exit statuses {ended}, expected 0 and 2: {log.read_text()}"
        )
    return 1


def content(folder: Path) -> dict[str, object]:
    """What must be equal: figures of a folder, without clocks, by file."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [_without_clocks(line) for line in lines]
        elif path.name == "summary.json":
            found[name] = _without_clocks(json.loads(path.read_text()))
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: arrays[key].tobytes() for key in arrays.files}
    return found


def _without_clocks(line: dict) -> dict:
    return {key: value for key, value in line.items() if key not in CLOCKS}


def leftovers(folder: Path) -> list[str]:
    """Temporary files and locks that are still there."""
    hidden = [path for path in folder.rglob(".*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in hidden]


def series(kind: str, count: int, folder: Path, draws: random.Random) -> int:
    """All trials of a kind -> how many differ from the undisturbed run."""
    inputs = folder / "inputs"
    for name in ("alone", "again"):  # the second finds programs compiled, as trials do
        alone, log = folder / f"{kind}-{name}", folder / "alone.log"
        begin = time.monotonic()
        if start(command(kind, inputs, alone), log).wait(SECONDS):
            raise RuntimeError(log.read_text()[-500:])
        seconds = time.monotonic() - begin
    expected = content(alone)
    hits = wrong = 0
    for number in range(count):
        own, log = folder / f"{kind}-{number}", folder / f"{kind}-{number}.log"
        arguments = command(kind, inputs, own)
        try:
            if kind == "pair":
                hits += paired_trial(arguments, log)
            else:
                hits += killed_trial(arguments, log, seconds, draws)
            found = content(own)
            differs = [name for name in expected if found.get(name) != expected[name]]
            problem = ", ".join([*differs, *leftovers(own)])
            if "Traceback" in log.read_text():
                problem += " traceback"
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            wrong += 1
            print(f"{kind} {number}: {problem}", flush=True)
    word = "started together" if kind == "pair" else "signals sent"
    print(f"{kind}: {count - wrong} of {count} identical, {hits} {word}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind, count in (("train", 50), ("sweep", 20), ("search", 10), ("pair", 5)):
        parser.add_argument(f"--{kind}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    draws = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        inputs = folder / "inputs"
        inputs.mkdir()
        config = str(inputs / "train.py")
        (inputs / "train.py").write_text(CONFIG.format(tests=str(ROOT / "tests")))
        (inputs / "sweep.py").write_text(SWEEP.format(config=config))
        (inputs / "search.py").write_text(SEARCH.format(config=config))
        counts = {k: getattr(chosen, k) for k in ("train", "sweep", "search", "pair")}
        wrong = [series(k, n, folder, draws) for k, n in counts.items() if n]
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
