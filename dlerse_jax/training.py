"""Training as compiled chunks: everything between two log lines is one program.

In go an agent, a world, one root key a seed and the updates to do; out come new
states and the mean metrics of the chunk. Keys depend on the seed and the number of
the update alone, so chunks of any length, or a resumed run, give the same numbers.
Runs that differ in traced numbers are more seeds to the program: joined before the
chunk, split after it.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

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
    vmapped one waits for ever inside jaxlib 0.10.2 where a CPU has two cores. What
    seeds share goes through no program, which would copy it; embeddings may fill half
    the memory.
    """
    states = [agent.init(stream_key(root, "init")) for root in roots]
    parts = [_take_apart(agent.seed_axes, state) for state in states]
    own = _stack([own for own, _ in parts])
    _, shared = parts[0]
    return _put_together(agent.seed_axes, own, shared)


@jax.jit
def _stack(trees):
    """One program for all leaves: a program for each shape is a second of a start."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some updates of a phase, for every seed: (states, *rest) -> states, metrics.

    rest is (world, roots [S], first, total): updates from number `first` of `total` on.
    What each seed has of its own is donated; what seeds share is read and handed on, so
    that the agent and other runs can go on using it. Metrics are means, [S] each.
    """

    seed_axes: Any
    program: Callable  # (own, shared, *rest) -> own, metrics

    def __call__(self, states, *rest):
        own, shared = _take_apart(self.seed_axes, states)
        own, metrics = self.program(own, shared, *rest)
        return _put_together(self.seed_axes, own, shared), metrics

    def compile(self, states, *rest) -> "Chunk":
        """The same for inputs of these shapes alone: `program` knows what it costs."""
        lowered = self.program.lower(*_take_apart(self.seed_axes, states), *rest)
        return dataclasses.replace(self, program=lowered.compile())


def train_chunk(agent: Agent, phase: str, num_updates: int) -> Chunk:
    """`num_updates` updates of `phase` ("fit" or "learn"), compiled when first called.

    The world is shared by all seeds, save for its alpha where that is [S].
    """
    update, axes = getattr(agent, phase), agent.seed_axes

    def update_one_seed(own, shared, world: Simulator, root, number, total):
        key = stream_key(root, phase, number)
        state = _put_together(axes, own, shared)
        state, metrics = update(state, world, key, number / total)
        return _take_apart(axes, state)[0], metrics

    def run_all_seeds(own, shared, world: Simulator, roots, first, total):
        in_axes = (0, None, _world_axes(world), 0, None, None)
        over_seeds = jax.vmap(update_one_seed, in_axes=in_axes)  # adds S

        def step(own, number):
            return over_seeds(own, shared, world, roots, number, total)

        numbers = first + jnp.arange(num_updates)
        own, metrics = jax.lax.scan(step, own, numbers)
        metrics = jax.tree.map(functools.partial(jnp.mean, axis=0), metrics)
        own = devices.as_placed(world.mesh, own, agent.item_axes)
        return own, devices.everywhere(world.mesh, metrics)

    return Chunk(seed_axes=axes, program=jax.jit(run_all_seeds, donate_argnums=0))


def _take_apart(seed_axes, states):
    """What each seed has of its own, and what seeds share: None for the rest."""

    def keep(is_kept):
        return jax.tree.map(
            lambda axis, part: part if is_kept(axis) else None,
            seed_axes,
            states,
            is_leaf=_is_none,
        )

    return keep(lambda axis: axis is not None), keep(_is_none)


def _put_together(seed_axes, own, shared):
    return jax.tree.map(
        lambda axis, of_seed, of_all: of_all if axis is None else of_seed,
        seed_axes,
        own,
        shared,
        is_leaf=_is_none,
    )


def _world_axes(world: Simulator) -> Simulator:
    alpha_axis = 0 if world.alpha.ndim else None
    shared = ("likes", "num_friends", "miss_reward", "topics")
    return world.replace(alpha=alpha_axis, **dict.fromkeys(shared))


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
