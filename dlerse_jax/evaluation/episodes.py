"""Greedy rollouts of every evaluated user, all seeds, one compiled call per batch.

An `Evaluation` holds one answer per user and step, from which every metric is taken.
Users are played in batches, so that memory does not grow with their number.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.environment.rollout import episode_keys, rollout, user_keys
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.retrieval.argmax import CATALOGUE_BLOCK
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.kept_function import KeptFunction
from dlerse_jax.runtime.random_streams import stream_key
from dlerse_jax.types import Agent, Evaluation, Memory, State

# Folds that differ by a user or two share a program: batches of many users are padded.
LARGE_BATCH, BATCH_STEP = 64, 16
CELLS_AT_ONCE = 2**22  # numbers held for all users and seeds played together: 16 MiB


def greedy_rollout(agent: Agent, identity: str = "") -> KeptFunction:
    """A compiled function of one batch of users; identity tells agents apart.

    (states, world, users [B], hidden [U] bool, roots [S], batch number, candidates,
    history) -> items and feedback, [S, B, T] each. candidates and history are [B, C]
    and [B, H], padded with N, or None: see `dlerse_jax.environment.rollout.rollout`.
    """

    def one_seed(
        state: State,
        world: Simulator,
        users: jax.Array,
        masked: jax.Array,
        root: jax.Array,
        batch: jax.Array,
        lists: jax.Array | None,
        history: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array]:
        context = agent.context(state, masked)
        key = stream_key(root, "evaluate", batch)
        episodes = rollout(
            agent,
            state,
            context,
            world,
            users,
            key,
            candidates=lists,
            history=history,
        )
        return sharding.replicated(world.mesh, (episodes.items, episodes.feedback))

    in_axes = (agent.seed_axes, None, None, None, 0, None, None, None)
    return KeptFunction(jax.vmap(one_seed, in_axes=in_axes), identity)  # adds S


def cells_per_user(
    agent: Agent, states: State, world: Simulator, roots: jax.Array
) -> int:
    """Numbers that one user of one seed holds while played: memory, and some scores.

    A catalogue above one block is scored block by block, so an agent that carries
    nothing of length N needs no more for a million items than for one block of them.
    """

    def memory(state: State, root: jax.Array) -> Memory:
        context = agent.context(state, jnp.zeros(world.num_users, bool))
        return agent.begin(state, context, jnp.int32(0), root)

    over_seeds = jax.vmap(memory, in_axes=(agent.seed_axes, 0))  # adds S
    carried = jax.tree.leaves(jax.eval_shape(over_seeds, states, roots))
    size = sum(leaf.size for leaf in carried) // len(roots)
    return size + min(world.num_items, CATALOGUE_BLOCK)


def evaluate_users(
    play: KeptFunction,
    states: State,
    world: Simulator,
    users: np.ndarray,
    roots: jax.Array,
    *,
    agent_name: str,
    protocol: str = "cold",
    candidates: np.ndarray | None = None,
    history: np.ndarray | None = None,
    cells: int | None = None,
) -> Evaluation:
    """Plays `users` [B] with `play`, a function from `greedy_rollout`.

    cells are those of `cells_per_user`, and say how many go together; None means N.
    Without a history the users are new: their own feedback is hidden from the agent,
    whether or not they are training users. With one, what the agent was built on is
    their past and stays visible.
    """
    users = np.asarray(users)
    calls = batch_inputs(states, world, users, roots, candidates, history, cells)
    played = [jax.device_get(play(*call)) for call in calls]
    items, feedback = (
        np.concatenate(parts, axis=1)[:, : len(users)]
        for parts in zip(*played, strict=True)
    )
    offsets, num_friends = jax.device_get((world.likes.offsets, world.num_friends))
    return Evaluation(
        agent=agent_name,
        protocol=protocol,
        users=users,
        items=items,
        feedback=feedback.astype(np.uint8),
        num_items=world.num_items,
        num_likes=np.diff(offsets)[users],
        num_friends=num_friends[users],
        miss_reward=float(world.miss_reward),
    )


def batch_inputs(
    states: State,
    world: Simulator,
    users: np.ndarray,
    roots: jax.Array,
    candidates: np.ndarray | None,
    history: np.ndarray | None,
    cells: int | None,
) -> Iterator[tuple]:
    """What `play` is given for each batch of users, as of `evaluate_users`.

    Of states and roots the shapes are enough to compile for.
    """
    masked = new_users(world, users, history)
    size = cells or world.num_items
    for number, rows in enumerate(user_batches(len(users), size, roots)):
        lists = rows_of(candidates, rows), rows_of(history, rows)
        yield states, world, users[rows], masked, roots, np.int32(number), *lists


def new_users(
    world: Simulator, users: np.ndarray, history: np.ndarray | None
) -> np.ndarray:
    """Whose feedback is hidden, [U] bool: the users played, unless they have a past."""
    masked = np.zeros(world.num_users, bool)
    masked[users] = history is None
    return masked


def user_batches(num_users: int, cells: int, roots: jax.Array) -> np.ndarray:
    """Which users go together: [batches, B] indices, of one size for one compile.

    cells: numbers that one user of one seed needs at a time. The last batch repeats
    the last user; the caller cuts that off.
    """
    most = max(1, CELLS_AT_ONCE // (cells * len(roots)))
    num_batches = max(1, -(-num_users // most))
    size = -(-num_users // num_batches)
    if size > LARGE_BATCH:
        size = -(-size // BATCH_STEP) * BATCH_STEP
    rows = np.minimum(np.arange(num_batches * size), num_users - 1)
    return rows.reshape(num_batches, size)


def begin_keys(
    agent: Agent, states: State, world: Simulator, num_users: int, roots: jax.Array
) -> jax.Array:
    """What `agent.begin` is given for each user of an evaluation: [S, B] keys.

    roots [S] are those of the run (`seed_keys` of its seeds). An agent that draws shows
    a user of `evaluation.npz` the same items again where it begins with their key.
    """
    cells = cells_per_user(agent, states, world, roots)
    batches = user_batches(num_users, cells, roots)

    def of_seed(root: jax.Array) -> jax.Array:
        keys = [
            user_keys(stream_key(root, "evaluate", number), len(rows))
            for number, rows in enumerate(batches)
        ]
        over_users = jax.vmap(lambda key: episode_keys(key)[0])
        return over_users(jnp.concatenate(keys)[:num_users])

    return jax.vmap(of_seed)(roots)


def rows_of(table: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Some rows of a table that may be absent."""
    return None if table is None else table[rows]
