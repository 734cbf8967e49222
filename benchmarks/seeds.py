"""What do more runs in one program cost: seeds vmapped, updates a second of them all?

    python benchmarks/seeds.py --config=experiments/lastfm.py

One JSON line a number of seeds and phase; counts take turns, as in `dlerse bench`.
"""

import json
import sys

import jax
import jax.numpy as jnp

from dlerse_jax.benching import Part, machine, measure
from dlerse_jax.building import build_agent, build_dataset, build_world
from dlerse_jax.commands.parsing import config_of, parse
from dlerse_jax.training import PHASES, init_states, seed_keys, train_chunk

COUNTS = (1, 2, 4, 8)
ROUNDS = 5


def parts_of(phase: str, agent, world):
    """One update of all seeds, for each count of them."""
    for count in COUNTS:
        roots = seed_keys(jnp.arange(count))
        chunk = train_chunk(agent, phase, 1)
        # The replay must not be empty when `learn` draws from it; states are donated.
        held = [init_states(agent, roots)]
        if phase == "learn":
            held[0], _ = train_chunk(agent, "fit", 1)(held[0], world, roots, 0, 100)

        def update(chunk=chunk, roots=roots, held=held):
            held[0], metrics = chunk(held[0], world, roots, 1, 100)
            return metrics

        yield Part(
            name=f"{phase}, {count} seeds",
            call=update,
            amount=count,
            unit="updates_per_second",
            floor=f"{phase}, 1 seeds",
        )


def main() -> None:
    config = config_of(parse(sys.argv[1:])[0])
    dataset = build_dataset(config)
    agent, world = build_agent(config, dataset), build_world(config, dataset)
    for phase in PHASES:
        for line in measure(list(parts_of(phase, agent, world)), ROUNDS):
            sys.stdout.write(json.dumps(line | machine()) + "\n")
            sys.stdout.flush()
        jax.clear_caches()


if __name__ == "__main__":
    main()
