"""How do time and memory of an update grow with N, U, E, B, T and K?

    python benchmarks/scaling.py --axis=items [--steps=5]
    python benchmarks/scaling.py --axis=all --figure=docs/figures/scaling.svg
    python benchmarks/scaling.py --axis=none --read LINES... --figure=scaling.svg
    python benchmarks/scaling.py --point items=1000000 users=1000000
    python benchmarks/scaling.py --agent=dlerse_rank --point items=5500 users=4500

One JSON line per point. Each point is a process of its own, so that its peak memory is
its own: it makes a synthetic world, builds the agent as `dlerse train` does, and runs
single updates of each of its phases. After an axis come lines with the fitted
exponent: the slope of log(quantity) on log(size), least squares.
`seconds` is the fastest of `--updates` updates and `cpu_seconds` their mean, all cores
together. `tables_mib` is what goes into an update (tables, graph, likes, optimiser),
`temporary_mib` what XLA sets aside beside that, `peak_mib` the peak of the process from
the making of the world on, some 600 MiB of it the compiler's.
"""

import argparse
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

BASE = {
    "items": 16_384,
    "users": 16_384,
    "friends": 8,  # per user: E = users x friends
    "batch": 32,
    "horizon": 16,
    "hops": 2,
    "fan_out": 8,
    "width": 64,
    "train_tables": 0,
    "folds": 8,  # of dlerse_rank
    "ridge_rank": 128,  # of dlerse_plus and dlerse_rank
}
FIRST = {"items": 32_768, "users": 32_768, "friends": 4, "batch": 16, "horizon": 8}
AXES = (*FIRST, "hops")
PHASES = ("pretrain", "q_learning")
RANK = "dlerse_rank"
QUANTITIES = ("cpu_seconds", "temporary_mib", "peak_mib")


def point_config(sizes: dict, agent_name: str):
    """The config of one point: the synthetic world of these sizes, the shapes set."""
    from dlerse_jax.defaults import base_config

    config = base_config()
    world = config.data.synthetic
    world.num_items, world.num_users = sizes["items"], sizes["users"]
    world.mean_likes, world.friendless_share = 20.0, 0.0
    world.mean_friends = float(sizes["friends"])
    config.episode.horizon = sizes["horizon"]
    config.network.width = config.network.hidden = sizes["width"]
    config.network.hops, config.network.fan_out = sizes["hops"], sizes["fan_out"]
    config.plus.ridge_rank = sizes["ridge_rank"]
    config.rank.episodes, config.rank.folds = sizes["batch"], sizes["folds"]
    if agent_name != RANK:
        config.network.factors = "random"
    config.agent.name = agent_name
    config.network.train_tables = bool(sizes["train_tables"])
    config.q_learning.act_batch = config.q_learning.batch_size = sizes["batch"]
    config.q_learning.replay_capacity = 4 * sizes["batch"]
    return config


def measure_point(sizes: dict, agent_name: str, num_updates: int) -> None:
    """Writes one line per phase. To be called in a process of its own."""
    from dlerse_jax.experiment.build import (
        build_agent,
        build_dataset,
        build_environments,
    )
    from dlerse_jax.learning.train_loop import init_states, seed_keys

    config = point_config(sizes, agent_name)
    start = time.perf_counter()
    dataset = build_dataset(config)
    made, busy = time.perf_counter(), time.process_time()
    agent, world = (
        build_agent(config, dataset),
        build_environments([config], dataset)[0],
    )
    roots = seed_keys(np.arange(1))
    states = init_states(agent, roots)
    common = (
        {"agent": agent_name}
        | sizes
        | {
            "edges": len(dataset.friend_targets),
            "likes": len(dataset.liked_items),
            "world_seconds": round(made - start, 2),
            "build_seconds": round(time.perf_counter() - made, 2),
            "build_cpu_seconds": round(time.process_time() - busy, 2),
            "build_peak_mib": round(peak_mib()),
        }
    )
    for phase in PHASES:
        if getattr(agent, phase) is None:
            continue
        states, line = measure_phase(agent, phase, states, world, roots, num_updates)
        write(common | line | about())


def measure_phase(
    agent, phase, states, world, roots, num_updates: int
) -> tuple[object, dict]:
    """A few updates of one phase, one a call -> states and what they cost."""
    import jax

    from dlerse_jax.learning.train_loop import train_chunk

    start = time.perf_counter()
    inputs = (states, world, roots, 0, 100)
    update = train_chunk(agent, phase, 1).compile(*inputs)
    compiled, wall, busy = time.perf_counter() - start, [], []
    for number in range(num_updates + 1):
        begin, cpu = time.perf_counter(), time.process_time()
        states, _ = jax.block_until_ready(update(states, world, roots, number, 100))
        wall.append(time.perf_counter() - begin)
        busy.append(time.process_time() - cpu)
    memory = update.program.memory_analysis()
    return states, {
        "phase": phase,
        "seconds": round(min(wall[1:]), 4),
        "cpu_seconds": round(sum(busy[1:]) / num_updates, 4),
        "compile_seconds": round(compiled, 2),
        "tables_mib": round(memory.argument_size_in_bytes / 2**20, 1),
        "temporary_mib": round(memory.temp_size_in_bytes / 2**20, 1),
        "peak_mib": round(peak_mib()),
    }


def peak_mib() -> float:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def about() -> dict:
    """What the figures depend on besides the sizes."""
    import jax

    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "jax": importlib.metadata.version("jax"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(line: dict) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run_axis(axis: str, agent_name: str, steps: int, num_updates: int) -> list[dict]:
    """One process a size, doubling (hops: 0, 1, 2, 3) -> all lines of the axis."""
    doubling = [FIRST[axis] * 2**step for step in range(steps)] if axis in FIRST else ()
    sizes = doubling or range(4)
    lines = []
    for size in sizes:
        words = [f"--updates={num_updates}", f"--agent={agent_name}"]
        command = [sys.executable, __file__, *words, "--point", f"{axis}={size}"]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{answer.stderr[-2000:]}")
        lines += [{"axis": axis} | json.loads(x) for x in answer.stdout.splitlines()]
    return lines


def exponents(lines: list[dict]) -> list[dict]:
    """Slopes of log(quantity) on log(size), one line per phase; hops grow by layers."""
    fitted = []
    for phase in PHASES:
        points = [line for line in lines if line["phase"] == phase]
        if not points:
            continue
        axis = points[0]["axis"]
        sizes = [line[axis] for line in points]
        if axis == "hops" or len(points) < 2:
            continue
        slopes = {
            name: round(
                float(
                    np.polyfit(np.log(sizes), np.log([p[name] for p in points]), 1)[0]
                ),
                3,
            )
            for name in QUANTITIES
        }
        fitted.append({"axis": axis, "phase": phase, "exponents": slopes})
    return fitted


def draw(lines: list[dict], path: str) -> None:
    """CPU seconds of an update above, memory below; one column an axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axes = [axis for axis in AXES if any(line["axis"] == axis for line in lines)]
    figure, grid = plt.subplots(
        2, len(axes), figsize=(2.3 * len(axes), 4.6), sharey="row", squeeze=False
    )
    for column, axis in enumerate(axes):
        for phase in PHASES:
            points = [x for x in lines if (x["axis"], x["phase"]) == (axis, phase)]
            sizes = [point[axis] for point in points]
            for row, name in enumerate(("cpu_seconds", "temporary_mib")):
                values = [point[name] for point in points]
                grid[row, column].plot(sizes, values, marker="o", label=phase)
                grid[row, column].set_yscale("log")
        for row in range(2):
            if axis != "hops":
                grid[row, column].set_xscale("log", base=2)
        grid[1, column].set_xlabel(axis)
    grid[0, 0].set_ylabel("CPU seconds an update")
    grid[1, 0].set_ylabel("temporaries, MiB")
    grid[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", default="dlerse_con")
    parser.add_argument("--axis", choices=(*AXES, "all", "none"), default="all")
    parser.add_argument("--steps", type=int, default=5, help="doublings, plus one")
    parser.add_argument("--point", nargs="*", help="key=number ...: this point, here")
    parser.add_argument("--updates", type=int, default=4, help="timed, of a phase")
    parser.add_argument("--read", nargs="*", default=[], help="lines of earlier runs")
    parser.add_argument("--figure", help="where to draw what was measured")
    options = parser.parse_args()
    if options.point is not None:
        pairs = (pair.partition("=") for pair in options.point)
        sizes = BASE | {key: int(number) for key, _, number in pairs}
        measure_point(sizes, options.agent, options.updates)
        return
    texts = [Path(file).read_text() for file in options.read]
    read = [json.loads(line) for text in texts for line in text.splitlines()]
    measured = [line for line in read if "exponents" not in line]
    for axis in {"all": AXES, "none": ()}.get(options.axis, (options.axis,)):
        lines = run_axis(axis, options.agent, options.steps, options.updates)
        for line in lines + exponents(lines):
            write(line)
        measured += lines
    if options.figure:
        draw(measured, options.figure)


if __name__ == "__main__":
    main()
