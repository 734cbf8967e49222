"""Training as compiled chunks: everything between two log lines is one program.

In go an agent, a world, one root key a seed and the updates to do; out come new
states and the mean metrics of the chunk. Keys depend on the seed and the number of
the update alone, so chunks of any length, or a resumed run, give the same numbers.
"""

import functools

import jax
import jax.numpy as jnp

from dlerse_jax.keys import stream_key
from dlerse_jax.simulator import Simulator
from dlerse_jax.types import Agent

PHASES = ("fit", "learn")


def seed_keys(seeds: jax.Array) -> jax.Array:
    """Root keys [S] of seeds [S] int."""
    return jax.vmap(jax.random.key)(seeds)


def init_states(agent: Agent, roots: jax.Array):
    """A fresh state a seed: leaves get a leading axis S, as `agent.seed_axes` says."""
    keys = jax.vmap(lambda root: stream_key(root, "init"))(roots)
    return jax.jit(jax.vmap(agent.init, out_axes=agent.seed_axes))(keys)


def train_chunk(agent: Agent, phase: str, num_updates: int):
    """A compiled function (states, world, roots [S], first, total) -> states, metrics.

    Runs `num_updates` updates of `phase` ("fit" or "learn") for every seed, from
    number `first` of `total`. The states are donated. Metrics are means over the
    chunk, [S] each. The world is shared by all seeds.
    """
    update = getattr(agent, phase)

    def run_one_seed(state, world: Simulator, root, first, total):
        def step(state, number):
            key = stream_key(root, phase, number)
            return update(state, world, key, number / total)

        numbers = first + jnp.arange(num_updates)
        state, metrics = jax.lax.scan(step, state, numbers)
        return state, jax.tree.map(functools.partial(jnp.mean, axis=0), metrics)

    axes = agent.seed_axes
    over_seeds = jax.vmap(  # adds S
        run_one_seed, in_axes=(axes, None, 0, None, None), out_axes=(axes, 0)
    )
    return jax.jit(over_seeds, donate_argnums=0)
