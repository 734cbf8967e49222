"""What do more runs in one program cost: seeds vmapped, updates per second of them all?

    python benchmarks/seeds.py --config=experiments/lastfm.py

One JSON line per number of seeds and phase; counts take turns, as in `dlerse bench`.
Programs are compiled side by side, a thread each.
"""

import concurrent.futures
import json
import sys

import jax
import jax.numpy as jnp

from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.experiment.bench import Part, machine, measure
from dlerse_jax.experiment.build import build
from dlerse_jax.learning.train_loop import (
    PHASES,
    init_states,
    join_states,
    seed_keys,
    train_chunk,
)
from dlerse_jax.runtime.sharding import by_backend

COUNTS = (1, 2, 4, 8), (1, 8, 64)  # on a CPU, elsewhere
ROUNDS = 5


def part_of(phase: str, agent, world, count: int, state) -> Part:
    """One update of so many seeds, which all start from this state of one seed."""
    roots = seed_keys(jnp.arange(count))
    states = jax.tree.map(jnp.copy, join_states(agent, [state] * count))
    chunk = train_chunk(agent, phase, 1).compile(states, world, roots, 1, 100)
    held = [states]  # what goes into an update is donated

    def update():
        held[0], metrics = chunk(held[0], world, roots, 1, 100)
        return metrics

    return Part(
        name=f"{phase}, {count} seeds",
        call=update,
        amount=count,
        unit="updates_per_second",
        floor=f"{phase}, 1 seeds",
    )


def main() -> None:
    config = config_of(parse_command(["bench", *sys.argv[1:]])[0])
    experiment = build(config)
    agent, world = experiment.agent, experiment.environment
    roots = seed_keys(jnp.arange(1))
    # The replay must not be empty when `learn` draws from it.
    state = init_states(agent, roots)
    state, _ = train_chunk(agent, "pretrain", 1)(state, world, roots, 0, 100)
    for phase in PHASES:
        with concurrent.futures.ThreadPoolExecutor() as threads:
            compiled = [
                threads.submit(part_of, phase, agent, world, count, state)
                for count in by_backend(COUNTS)
            ]
            parts = [future.result() for future in compiled]
        for line in measure(parts, ROUNDS):
            sys.stdout.write(json.dumps(line | machine()) + "\n")
            sys.stdout.flush()
        jax.clear_caches()


if __name__ == "__main__":
    main()
