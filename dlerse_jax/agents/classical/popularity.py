"""Agents that fix their ranking before the episode: random, popularity, friends.

Learning is worth nothing in a recommender that does not beat them. Their state holds
the sparse feedback of training users. Masked users (`Agent.context`) drop out of every
mean, and of its count as well.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.classical.sources import Sources, make_sources
from dlerse_jax.graph.neighbour_means import (
    SocialFeedback,
    friends_of,
    mean_feedback,
    social_feedback,
    visible_users,
)
from dlerse_jax.types import Agent, Dataset


@struct.dataclass(kw_only=True)
class FriendsState:
    """Feedback to average, and how much popularity counts beside it."""

    social: SocialFeedback
    prior_weight: jax.Array  # [] people that popularity counts for


@struct.dataclass(kw_only=True)
class FriendsContext:
    """What every user of a batch shares."""

    visible: jax.Array  # [U] float32: 1 where feedback may be read
    popularity: jax.Array  # [N] float32: mean feedback of visible users


def random_items(dataset: Dataset) -> Agent:
    """A new uniformly random order of the catalogue for every episode."""
    num_items = dataset.num_items

    def scores(state, context, memory, items):
        items = jnp.arange(num_items) if items is None else items
        # A key for each item, so that a list scores as the whole catalogue does.
        return jax.vmap(lambda item: _uniform(memory, item))(items)  # adds A

    return Agent(
        name="random",
        init=lambda key: (),
        context=lambda state, masked: (),
        begin=lambda state, context, person, key: key,
        observe=_keep_memory,
        scores=scores,
    )


def popularity(dataset: Dataset) -> Agent:
    """The share of visible training users who like an item, the same for everybody."""
    social = social_feedback(dataset)

    def context(state, masked):
        return mean_feedback(state, visible_users(state, masked))

    def scores(state, context, memory, items):
        return context if items is None else context[items]

    return Agent(
        name="popularity",
        init=lambda key: social,
        context=context,
        begin=lambda state, context, person, key: (),
        observe=_keep_memory,
        scores=scores,
    )


def friends_items(
    dataset: Dataset,
    *,
    prior_weight: float,
    rank_weight: float = 0.0,
    activity_power: float = 0.0,
    sources: Sources | None = None,
) -> Agent:
    """Mean feedback of the friends a user names; popularity is `prior_weight` friends.

    score = (sum of visible friends' feedback + w * popularity) / (visible friends + w).
    Without visible friends the ranking is popularity; a small w only breaks ties.
    rank_weight: how much more a friend's most played items count, see `weigh_by_rank`;
    activity_power: how much less the likes of one who likes much, `weigh_by_activity`.
    """
    if prior_weight <= 0:
        raise ValueError(f"prior_weight must be above 0, got {prior_weight}")
    sources = sources or make_sources(
        dataset, rank_weight=rank_weight, activity_power=activity_power
    )
    start = FriendsState(social=sources.social, prior_weight=jnp.float32(prior_weight))

    def context(state, masked):
        visible = visible_users(state.social, masked)
        return FriendsContext(
            visible=visible, popularity=mean_feedback(state.social, visible)
        )

    def begin(state, context, person, key):
        return mean_feedback(
            state.social,
            friends_of(state.social, person) * context.visible,
            prior=context.popularity,
            prior_weight=state.prior_weight,
        )

    def scores(state, context, memory, items):
        return memory if items is None else memory[items]

    return Agent(
        name="friends",
        init=lambda key: start,
        context=context,
        begin=begin,
        observe=_keep_memory,
        scores=scores,
    )


def _uniform(key: jax.Array, item: jax.Array) -> jax.Array:
    return jax.random.uniform(jax.random.fold_in(key, item))


def _keep_memory(state, context, memory, observation):
    return memory
