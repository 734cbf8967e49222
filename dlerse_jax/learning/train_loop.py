"""Training as compiled chunks: everything between two log lines is one program.

Keys depend on the seed and the number of the update alone, so chunks of any length, or
a resumed run, give the same numbers. Runs that differ in traced hyperparameters are
more seeds to the program: joined before the chunk, split after it. `Programs` compiles
a run's chunks while its states are made.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.export_cache import exported_program
from dlerse_jax.runtime.random_streams import stream_key
from dlerse_jax.types import Agent

PHASES = ("pretrain", "q_learning")


def seed_keys(seeds: jax.Array) -> jax.Array:
    """Root keys [S] of seeds [S] int."""
    return jax.vmap(jax.random.key)(seeds)


def init_states(agent: Agent, roots: jax.Array):
    """One fresh state per seed: leaves get a leading axis S, as `agent.seed_axes` says.

    One seed after the other: orthogonal initialisers are QR decompositions, and a
    vmapped one waits for ever inside jaxlib 0.10.2 where a CPU has two cores. What
    seeds share goes through no program, which would copy it; embeddings may fill half
    the memory.
    """
    states = [agent.init(key) for key in _init_keys(roots)]
    parts = [_split_leaves(agent.seed_axes, state) for state in states]
    own = jax.tree.map(_stack, *(own for own, _ in parts))
    _, shared = parts[0]
    return _join_leaves(agent.seed_axes, own, shared)


@jax.jit
def _init_keys(roots: jax.Array) -> tuple[jax.Array, ...]:
    """One key per seed, in one program: taking [S] apart elsewhere is another."""
    return tuple(stream_key(root, "init") for root in roots)


def _stack(*leaves: jax.Array) -> jax.Array:
    """By the host: a program that does nothing else takes most of a second to make."""
    if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
        return jnp.stack(leaves)
    return sharding.device_copy(np.stack(leaves))


def state_shapes(agent: Agent, num_seeds: int):
    """What `init_states` returns, as `jax.ShapeDtypeStruct`: nothing is computed."""

    def with_seeds(axis, part):
        if axis is None:
            return part
        return jax.tree.map(lambda x: x.update(shape=(num_seeds, *x.shape)), part)

    one = jax.eval_shape(lambda: agent.init(jax.random.key(0)))
    return jax.tree.map(with_seeds, agent.seed_axes, one, is_leaf=_is_none)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some updates of a phase, for every seed: (states, *rest) -> states, metrics.

    rest is (world, roots [S], first, total): updates from number `first` of `total` on.
    The arrays of each seed are donated; arrays that seeds share are returned as they
    are, so that the agent and other runs can go on using them. Metrics are means, [S]
    each.
    """

    seed_axes: Any
    updates: Callable  # (own, shared, *rest) -> own, metrics
    program: Any  # the same, as a jitted or a compiled function
    identity: str  # of what `updates` depends on beside its arguments; "": unknown

    def __call__(self, states, *rest):
        own, shared = _split_leaves(self.seed_axes, states)
        own, metrics = self.program(own, shared, *rest)
        return _join_leaves(self.seed_axes, own, shared), metrics

    def compile(self, states, *rest) -> "Chunk":
        """The same for inputs of these shapes alone: `program` knows what it costs."""
        lowered = self.program.lower(*_split_leaves(self.seed_axes, states), *rest)
        return dataclasses.replace(self, program=lowered.compile())

    def compile_exported(self, states, *rest) -> "Chunk":
        """The same, from what an earlier run traced where one did."""
        own, shared = _split_leaves(self.seed_axes, states)
        own_leaves, own_tree = jax.tree.flatten(own)
        other_leaves, other_tree = jax.tree.flatten((shared, *rest))

        def of_leaves(own, others):
            own, metrics = self.updates(
                jax.tree.unflatten(own_tree, own),
                *jax.tree.unflatten(other_tree, others),
            )
            return jax.tree.leaves(own), metrics

        inputs = own_leaves, other_leaves
        if self.identity:
            identity = f"{self.identity} {own_tree} {other_tree}"
            of_leaves = exported_program(of_leaves, inputs, identity)
        compiled = jax.jit(of_leaves, donate_argnums=0).lower(*inputs).compile()

        def program(own, *others):
            leaves, metrics = compiled(jax.tree.leaves(own), jax.tree.leaves(others))
            return jax.tree.unflatten(own_tree, leaves), metrics

        return dataclasses.replace(self, program=program)


def train_chunk(
    agent: Agent, phase: str, num_updates: int, identity: str = ""
) -> Chunk:
    """`num_updates` updates of `phase` (of `PHASES`), compiled when first called.

    The world is shared by all seeds, save for its alpha where that is [S]. identity
    tells this agent from every other one, in this run and in all others.
    """
    update, axes = getattr(agent, phase), agent.seed_axes

    def update_one_seed(own, shared, world: Simulator, root, number, total):
        key = stream_key(root, phase, number)
        state = _join_leaves(axes, own, shared)
        state, metrics = update(state, world, key, number / total)
        return _split_leaves(axes, state)[0], metrics

    def run_all_seeds(own, shared, world: Simulator, roots, first, total):
        in_axes = (0, None, _world_axes(world), 0, None, None)
        over_seeds = jax.vmap(update_one_seed, in_axes=in_axes)  # adds S

        def step(own, number):
            return over_seeds(own, shared, world, roots, number, total)

        numbers = first + jnp.arange(num_updates)
        own, metrics = jax.lax.scan(step, own, numbers)
        metrics = jax.tree.map(functools.partial(jnp.mean, axis=0), metrics)
        own = sharding.as_placed(world.mesh, own, agent.item_axes)
        return own, sharding.replicated(world.mesh, metrics)

    return Chunk(
        seed_axes=axes,
        updates=run_all_seeds,
        program=jax.jit(run_all_seeds, donate_argnums=0),
        identity=identity and f"{phase} {num_updates} {identity}",
    )


class Programs:
    """The chunks of one agent, each compiled once for every shape of its inputs.

    Threads compile them ahead of their use: XLA works while Python makes the states.
    Settings of JAX that one thread alone has (`jax.debug_nans(True)` as a context) do
    not reach them. On a mesh they compile at their first call. identity as of
    `train_chunk`.
    """

    def __init__(self, agent: Agent, num_updates: int, identity: str = "") -> None:
        self.agent = agent
        self._chunks = {
            phase: train_chunk(agent, phase, num_updates, identity)
            for phase in PHASES
            if getattr(agent, phase)
        }
        self._threads = ThreadPoolExecutor(thread_name_prefix="compile")
        self._lock = threading.Lock()  # who trains and who is beside ask for the same
        self.compiled: dict[tuple, Future[Chunk]] = {}  # phase and shapes -> a chunk

    def prepare(self, phase: str, states, world: Simulator, *rest) -> Future[Chunk]:
        """Starts to compile for these inputs, or others of their shapes and types."""
        leaves, tree = jax.tree.flatten((states, world, *rest))
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        key = phase, tree, tuple(shapes)
        with self._lock:
            if key not in self.compiled:
                compile_exported = self._chunks[phase].compile_exported
                inputs = jax.tree.unflatten(tree, shapes)
                self.compiled[key] = self._threads.submit(compile_exported, *inputs)
            return self.compiled[key]

    def __call__(self, phase: str, states, world: Simulator, *rest):
        """`Chunk.__call__`, for which it waits where that is still being compiled."""
        if world.mesh is not None:
            return self._chunks[phase](states, world, *rest)
        return self.prepare(phase, states, world, *rest).result()(states, world, *rest)


def _split_leaves(seed_axes, states):
    """What each seed has of its own, and what seeds share: None for the rest."""

    def keep(is_kept):
        return jax.tree.map(
            lambda axis, part: part if is_kept(axis) else None,
            seed_axes,
            states,
            is_leaf=_is_none,
        )

    return keep(lambda axis: axis is not None), keep(_is_none)


def _join_leaves(seed_axes, own, shared):
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
    alphas = sharding.device_copy(
        np.repeat([world.alpha for world in worlds], num_seeds)
    )
    return worlds[0].replace(alpha=sharding.place(worlds[0].mesh, alphas))


def join_states(agent: Agent, states: Sequence):
    """States of several runs, leaves [S, ...], as one of [len(states) * S, ...].

    What the seeds of a run share is taken from the first.
    """

    if len(states) == 1:
        return states[0]

    def join(axis, *parts):
        return parts[0] if axis is None else _concatenate(parts)

    return jax.tree.map(join, agent.seed_axes, *states, is_leaf=_is_none)


def split_states(agent: Agent, states, num_runs: int) -> list:
    """What `join_states` joined, one per run; what seeds share is shared by all."""
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
