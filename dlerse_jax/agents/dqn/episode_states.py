"""What the head reads before each step of a recorded episode, and its queries.

The same numbers as the policy has while it plays, for all T steps of one user at once:
one scan of the encoder. Losses and targets read them.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.dqn.acting import Policy
from dlerse_jax.agents.dqn.policy import (
    session_embedding,
    start_posterior,
    update_posterior,
)
from dlerse_jax.environment.reward import streaks_before
from dlerse_jax.networks.q_network import (
    clock_features,
    session_weights,
    shown_before,
)
from dlerse_jax.runtime.ranks import check_ranks


@struct.dataclass(kw_only=True)
class EpisodeStates:
    """What the head reads before each step of an episode."""

    interests: jax.Array  # [T, H]
    influence: jax.Array  # [D]
    clock: jax.Array  # [T, 3]
    items: jax.Array  # session embedding [T, D + R]


@check_ranks(items=1, liked=1, interests=2)
def episode_states(
    policy: Policy, acting, social, items, liked, interests=None
) -> EpisodeStates:
    """States of one recorded episode, items and liked [T].

    One scan of the encoder, unless its interests [T, H] are known from acting.
    """
    vectors = acting.tables.item_in[items]
    weights = session_weights(liked, policy.dislike_weight)[:, None] * vectors
    items_before = shown_before(items) @ weights
    thetas = _thetas_before(policy, acting, social, items, liked)
    steps = jnp.arange(policy.horizon, dtype=jnp.float32)
    if interests is None:
        interests = policy.apply(acting, "unroll", vectors, liked)[:-1]
    return EpisodeStates(
        interests=interests,
        influence=social.influence,
        clock=clock_features(steps, *streaks_before(liked), policy.horizon),
        items=session_embedding(acting, items_before, thetas),
    )


def state_queries(policy: Policy, acting, states: EpisodeStates, dropout_key):
    """Queries of an episode's states [T]; dropout_key None switches dropout off."""
    return policy.apply(
        acting,
        "query",
        states.interests,
        states.influence,
        states.clock,
        states.items,
        train=dropout_key is not None,
        rngs=None if dropout_key is None else {"dropout": dropout_key},
    )


def _thetas_before(policy: Policy, acting, social, items, liked) -> jax.Array | None:
    """The ridge posterior before each step of an episode: [T, R], or None without
    one."""

    def update(posterior, answer):
        return update_posterior(acting, posterior, *answer), posterior.theta

    if social.theta is None:
        return None
    start = start_posterior(policy, social)
    return jax.lax.scan(update, start, (items, liked))[1]
