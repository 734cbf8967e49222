"""Where does the time of an update go: which kernels, in which part of the model?

    python benchmarks/kernels.py --config=experiments/lastfm.py --config.num_seeds=8

A few updates of each phase under JAX's profiler. One JSON line per phase with the time
of an update and the share of it that the device was busy; then one line for each of the
kernels and parts (`jax.named_scope` and Flax methods) that took most, with their calls
per update. On a GPU a busy share far below 1 means that launching kernels takes longer
than running them.
"""

import collections
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp

from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.experiment.bench import keep_freed_memory, machine
from dlerse_jax.experiment.build import build
from dlerse_jax.learning.train_loop import PHASES, init_states, seed_keys, train_chunk

UPDATES, ROUNDS = 5, 5  # updates per program, programs timed
MOST = 15  # lines of each kind
SCOPES = {"act", "choose", "explore", "answer", "observe", "encode", "copy", "target"}
SCOPES |= {
    "pretrain_loss",
    "td_loss",
    "descend",
    "social",
    "copy_logits",
}  # and modules


def lines_of(phase: str, agent, world, states, roots) -> tuple[object, list[dict]]:
    """Some updates of a phase, timed and then traced -> states, lines."""
    chunk = train_chunk(agent, phase, UPDATES)
    inputs = (world, roots, 0, 100)
    start = time.perf_counter()
    chunk = chunk.compile(states, *inputs)
    compiled = time.perf_counter() - start
    seconds = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        states, _ = jax.block_until_ready(chunk(states, *inputs))
        seconds.append((time.perf_counter() - begin) / UPDATES)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            states, _ = jax.block_until_ready(chunk(states, *inputs))
        (trace,) = Path(folder).rglob("*.xplane.pb")
        events = list(own_times(jax.profiler.ProfileData.from_file(str(trace))))
    text = chunk.program.as_text()  # where each instruction says what made it
    names = dict(re.findall(r'%?([\w.-]+) = .*op_name="([^"]+)"', text))
    middle, busy = statistics.median(seconds[1:]), sum(spent for *_, spent in events)
    whole = {
        "milliseconds": round(1e3 * middle, 2),
        "fastest": round(1e3 * min(seconds[1:]), 2),
        "kernels": len(events) / UPDATES,
        "kernel_milliseconds": round(1e3 * busy / UPDATES, 2),
        "busy_share": round(busy / UPDATES / middle, 2),
        "compile_seconds": round(compiled, 1),
    }
    kinds = {
        "kernel": lambda kernel, _: re.sub(r"[._]\d+(?=[._]|$)", "", kernel),
        "part": lambda _, op: _part(names.get(op, op)),
    }
    lines = [{"phase": phase} | whole]
    for kind, group in kinds.items():
        lines += [
            {"phase": phase, kind: name} | line for name, line in top(events, group)
        ]
    return states, lines


def _part(op_name: str) -> str:
    """The scopes that the code names on the way to a primitive: `act/observe`.

    Under what made it of them: a gradient is the transpose of its `jvp`.
    """
    scopes = [word for word in re.split(r"[/()]", op_name) if word in SCOPES]
    part = "/".join(dict.fromkeys(scopes)) or "the rest"
    return part + (", gradient" if "transpose" in op_name else "")


def own_times(profile) -> Iterator[tuple[str, str, float]]:
    """Kernel, instruction and seconds; what runs inside another is taken off that one.

    A GPU has a plane with a line a stream; on a CPU the threads of XLA's pool are lines
    of the host's plane, and loops hold what runs inside them.
    """
    planes = list(profile.planes)
    on_device = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    prefix = "Stream" if on_device else "tf_XLA"
    for plane in on_device or planes:
        for line in plane.lines:
            if line.name.startswith(prefix):
                yield from _own_times_of(line)


def _own_times_of(line) -> Iterator[tuple[str, str, float]]:
    events = [
        (event.start_ns, -event.duration_ns, (event.name, _instruction(event)))
        for event in line.events
        if not event.name.startswith(("end: ", "Thread", "Thunk"))
    ]
    open_events: list[list] = []  # [end, name, own nanoseconds]
    for start, negative, name in sorted(events):
        end = start - negative
        # One that outlasts this one holds it; what only overlaps it runs beside it.
        while open_events and open_events[-1][0] < end:
            _, done, own = open_events.pop()
            yield *done, own / 1e9
        if open_events:
            open_events[-1][2] += negative
        open_events.append([end, name, -negative])
    for _, done, own in open_events:
        yield *done, own / 1e9


def _instruction(event) -> str:
    """What made it, as a GPU's trace says; on a CPU the name of the instruction."""
    return next((value for key, value in event.stats if key == "name"), event.name)


def top(events, group) -> Iterator[tuple[str, dict]]:
    """The groups that took most of the time, the first ones first."""
    seconds, calls = collections.Counter(), collections.Counter()
    for kernel, instruction, spent in events:
        name = group(kernel, instruction)
        seconds[name] += spent
        calls[name] += 1
    total = sum(seconds.values())
    for name, spent in seconds.most_common(MOST):
        yield (
            name,
            {
                "milliseconds": round(1e3 * spent / UPDATES, 3),
                "share": round(spent / total, 3),
                "calls": calls[name] / UPDATES,
            },
        )


def main() -> None:
    keep_freed_memory()
    config = config_of(parse_command(["bench", *sys.argv[1:]])[0])
    experiment = build(config)
    agent, world = experiment.agent, experiment.environment
    roots = seed_keys(jnp.arange(config.num_seeds))
    states = init_states(agent, roots)
    context = {"seeds": config.num_seeds} | machine()
    for phase in PHASES:
        states, lines = lines_of(phase, agent, world, states, roots)
        for line in lines:
            sys.stdout.write(json.dumps(line | context) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
