"""Protocol `ranking`: one ranking of the catalogue per user, before any answer.

Metrics are one number per seed and user. Scores of a batch of users are made, evaluated
and dropped, so that no table of users by items is ever held.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.environment.rollout import prime
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.evaluation.episodes import batch_inputs
from dlerse_jax.evaluation.protocols import liked_mask
from dlerse_jax.evaluation.summary import ranking_metrics
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.kept_function import KeptFunction
from dlerse_jax.runtime.random_streams import stream_key
from dlerse_jax.types import Agent, Context, Dataset, State


def first_scores(agent: Agent, identity: str = "") -> KeptFunction:
    """A compiled function: an agent's scores ahead of its first recommendation.

    identity tells agents apart.

    (states, world, users [B], hidden [U] bool, roots [S], batch number, history
    [B, H] or None) -> [S, B, N] float32, -inf for the items of the history.
    """

    def one_user(
        state: State,
        context: Context,
        world: Simulator,
        user: jax.Array,
        key: jax.Array,
        history: jax.Array | None,
    ) -> jax.Array:
        _, observation = world.reset(key, user)
        memory = agent.begin(state, context, user, key)
        memory = prime(agent, state, context, memory, observation, history)
        scores = agent.scores(state, context, memory, None)
        if history is None:
            return scores
        return scores.at[history].set(-jnp.inf, mode="drop")

    def one_seed(
        state: State,
        world: Simulator,
        users: jax.Array,
        masked: jax.Array,
        root: jax.Array,
        batch: jax.Array,
        history: jax.Array | None,
    ) -> jax.Array:
        context = agent.context(state, masked)
        keys = jax.random.split(stream_key(root, "evaluate", batch), users.shape[0])
        users, keys = sharding.over_users(world.mesh, (users, keys))
        in_axes = (None, None, None, 0, 0, None if history is None else 0)
        scores = jax.vmap(one_user, in_axes=in_axes)  # adds B
        scored = scores(state, context, world, users, keys, history)
        return sharding.replicated(world.mesh, scored)

    in_axes = (agent.seed_axes, None, None, None, 0, None, None)
    return KeptFunction(jax.vmap(one_seed, in_axes=in_axes), identity)  # adds S


def ranked_batches(
    states: State,
    world: Simulator,
    users: np.ndarray,
    roots: jax.Array,
    history: np.ndarray | None,
) -> Iterator[tuple]:
    """What a function from `first_scores` is given for each batch of users."""
    for *shared, _, past in batch_inputs(
        states, world, users, roots, None, history, None
    ):
        yield *shared, past


def rank_users(
    rank: KeptFunction,
    states: State,
    world: Simulator,
    answers: Dataset,
    users: np.ndarray,
    roots: jax.Array,
    *,
    history: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Metrics of `summary.ranking_metrics` by user: name -> [S, B].

    rank is a function from `first_scores`, `answers` holds what counts as liked. New
    users' own feedback is hidden, as in `evaluate_users`.
    """
    parts = []
    for call in ranked_batches(states, world, users, roots, history):
        scores, relevant = rank(*call), liked_mask(answers, call[2])
        seeds = [ranking_metrics(each, relevant) for each in jax.device_get(scores)]
        parts.append({name: [seed[name] for seed in seeds] for name in seeds[0]})
    return {
        name: np.concatenate([part[name] for part in parts], axis=1)[:, : len(users)]
        for name in parts[0]
    }
