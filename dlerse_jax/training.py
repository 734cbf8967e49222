"""Training as compiled chunks: everything between two log lines is one program.

In go an agent, a world, one root key a seed and the updates to do; out come new
states and the mean metrics of the chunk. Keys depend on the seed and the number of
the update alone, so chunks of any length, or a resumed run, give the same numbers.
Runs that differ in traced numbers are more seeds to the program: joined before the
chunk, split after it.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlerse_jax import devices
from dlerse_jax.keys import stream_key
from dlerse_jax.simulator import Simulator
from dlerse_jax.types import Agent

PHASES = ("fit", "learn")


def seed_keys(seeds: jax.Array) -> jax.Array:
    """Root keys [S] of seeds [S] int."""
    return jax.vmap(jax.random.key)(seeds)


def init_states(agent: Agent, roots: jax.Array):
    """A fresh state a seed: leaves get a leading axis S, as `agent.seed_axes` says.

    One seed after the other: orthogonal initialisers are QR decompositions, and a
    vmapped one waits for ever inside jaxlib 0.10.2 where a CPU has two cores. Not
    compiled, or what seeds share would be copied; embeddings may fill half the memory.
    """
    states = [agent.init(stream_key(root, "init")) for root in roots]

    def stack(axis, *parts):
        return parts[0] if axis is None else jax.tree.map(_stack, *parts)

    return jax.tree.map(stack, agent.seed_axes, *states, is_leaf=_is_none)


def _stack(*leaves):
    return jnp.stack(leaves)


def train_chunk(agent: Agent, phase: str, num_updates: int):
    """A compiled function (states, world, roots [S], first, total) -> states, metrics.

    Runs `num_updates` updates of `phase` ("fit" or "learn") for every seed, from
    number `first` of `total`. The states are donated. Metrics are means over the
    chunk, [S] each. The world is shared by all seeds, save for its alpha where that
    is [S].
    """
    update = getattr(agent, phase)

    def run_one_seed(state, world: Simulator, root, first, total):
        def step(state, number):
            key = stream_key(root, phase, number)
            return update(state, world, key, number / total)

        numbers = first + jnp.arange(num_updates)
        state, metrics = jax.lax.scan(step, state, numbers)
        return state, jax.tree.map(functools.partial(jnp.mean, axis=0), metrics)

    def run_all_seeds(states, world: Simulator, roots, first, total):
        axes = agent.seed_axes
        in_axes = (axes, _world_axes(world), 0, None, None)
        over_seeds = jax.vmap(run_one_seed, in_axes=in_axes, out_axes=(axes, 0))
        states, metrics = over_seeds(states, world, roots, first, total)  # adds S
        states = devices.as_placed(world.mesh, states, agent.item_axes)
        return states, devices.everywhere(world.mesh, metrics)

    return jax.jit(run_all_seeds, donate_argnums=0)


def _world_axes(world: Simulator) -> Simulator:
    alpha_axis = 0 if world.alpha.ndim else None
    shared = {"likes": None, "num_friends": None, "miss_reward": None}
    return world.replace(alpha=alpha_axis, **shared)


def join_worlds(worlds: Sequence[Simulator], num_seeds: int) -> Simulator:
    """Worlds that differ in alpha alone as one: alpha [len(worlds) * num_seeds]."""
    alphas = jnp.stack([world.alpha for world in worlds])
    return worlds[0].replace(alpha=jnp.repeat(alphas, num_seeds))


def join_states(agent: Agent, states: Sequence):
    """States of several runs, [S, ...] a leaf, as one of [len(states) * S, ...].

    What the seeds of a run share is taken from the first.
    """

    if len(states) == 1:
        return states[0]

    def join(axis, *parts):
        return parts[0] if axis is None else _concatenate(parts)

    return jax.tree.map(join, agent.seed_axes, *states, is_leaf=_is_none)


def split_states(agent: Agent, states, num_runs: int) -> list:
    """What `join_states` joined, a run each; what seeds share is shared by all."""
    if num_runs == 1:
        return [states]

    def part(index):
        def take(axis, part):
            return part if axis is None else _rows(part, num_runs, index)

        return jax.tree.map(take, agent.seed_axes, states, is_leaf=_is_none)

    return [part(index) for index in range(num_runs)]


def _is_none(leaf) -> bool:
    return leaf is None


@jax.jit
def _concatenate(parts):
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


@functools.partial(jax.jit, static_argnums=1)
def _rows(part, num_runs: int, index):
    """Rows of one run: leaves [num_runs * S, ...] -> [S, ...]."""
    return jax.tree.map(
        lambda leaf: leaf.reshape(num_runs, -1, *leaf.shape[1:])[index], part
    )
