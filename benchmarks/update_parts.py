"""What does one update cost, and how much of it are acting and the graph?

    python benchmarks/update_parts.py --config=experiments/lastfm.py

One JSON line a part: median milliseconds of single calls, seconds to compile, device,
versions. Parts overlap: `fit` and `learn` contain the others.
"""

import importlib.metadata
import json
import statistics
import sys
import time

import jax
import jax.numpy as jnp

from dlerse_jax.commands.main import parse
from dlerse_jax.rollout import rollout
from dlerse_jax.runner import build_agent, build_dataset, build_world

NUM_CALLS = 9


def measure(part: str, function, *arguments) -> None:
    """Writes one line: how long a call of `function` takes once compiled."""
    compiled = jax.jit(function)
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    first = time.perf_counter() - start
    seconds = []
    for _ in range(NUM_CALLS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    line = {
        "part": part,
        "milliseconds": round(1e3 * statistics.median(seconds), 1),
        "first_call_seconds": round(first, 1),
        "device": jax.devices()[0].device_kind,
        "jax": importlib.metadata.version("jax"),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    config = parse(sys.argv[1:])[0].config
    dataset = build_dataset(config)
    agent, world = build_agent(config, dataset), build_world(config, dataset)
    state, key = agent.init(jax.random.key(0)), jax.random.key(1)
    users = jnp.asarray(dataset.split.train[: config.learn.act_batch])
    hidden = jnp.zeros(dataset.num_users, bool).at[users].set(True)

    def act(state, key):
        return rollout(
            agent, state, agent.context(state, hidden), world, users, key
        ).items

    def graph_energy(params):
        return jnp.sum(agent.context(state.replace(average=params), hidden) ** 2)

    measure("acting", act, state, key)
    measure("graph, forward", agent.context, state, hidden)
    measure("graph, gradient", jax.grad(graph_energy), state.params)
    half_way = jnp.float32(0.5)
    measure("fit", lambda state: agent.fit(state, world, key, half_way), state)
    filled, _ = agent.fit(state, world, key, half_way)  # replay must not be empty
    measure("learn", lambda state: agent.learn(state, world, key, half_way), filled)


if __name__ == "__main__":
    main()
