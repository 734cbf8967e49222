"""EASE in an episode, and the strongest linear policy known: no learning at all.

A prior for a user nobody knows (popularity, or what their friends like) plus what the
answers so far say about every other item. In: a `Dataset`, factorised on the host from
training users' likes; out: an `Agent` whose memory is the prior row and one vector.
Hidden users (`Agent.context`) drop out of the prior; the item weights stay those of
all training users.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.graph.neighbour_means import (
    SocialFeedback,
    friends_of,
    mean_feedback,
    social_feedback,
    two_hops_of,
    visible_users,
)
from dlerse_jax.linear_models.item_factors import ease_factors
from dlerse_jax.types import Agent, Dataset, Observation


@struct.dataclass(kw_only=True)
class EaseState:
    """Item weights and settings; nothing here changes during a run."""

    social: SocialFeedback
    item_in: jax.Array  # [N, D] e, of the item shown
    item_out: jax.Array  # [N, D] o, of the item scored
    prior_weight: jax.Array  # [] friends that popularity counts for
    two_hop_weight: jax.Array  # [] weight of the mean feedback two hops away
    answer_weight: jax.Array  # [] weight of what the answers say
    dislike_weight: jax.Array  # [] a dislike counts as minus this many likes


@struct.dataclass(kw_only=True)
class EaseContext:
    """What every user of a batch shares."""

    visible: jax.Array  # [U] float32: 1 where feedback may be read
    popularity: jax.Array  # [N] float32: mean feedback of visible users


@struct.dataclass(kw_only=True)
class EaseMemory:
    """One user's episode: what was expected, and what the answers added up to."""

    prior: jax.Array  # [N]
    answers: jax.Array  # [D] sum over shown items of (y - dislike_weight (1 - y)) e


def ease_popularity(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    answer_weight: float,
    dislike_weight: float,
) -> Agent:
    """popularity + answer_weight * sum over shown items of (y - w (1 - y)) B[a, .]."""
    state = _ease_state(
        dataset,
        rank,
        regularisation,
        answer_weight=answer_weight,
        dislike_weight=dislike_weight,
    )

    def prior(state, context, user):
        return context.popularity

    return _ease_agent("ease_popularity", state, prior)


def ease_friends(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    prior_weight: float,
    answer_weight: float,
    dislike_weight: float,
) -> Agent:
    """The same, with visible friends' mean feedback in place of popularity.

    Popularity counts for `prior_weight` friends, alone for a friendless user.
    """
    state = _ease_state(
        dataset,
        rank,
        regularisation,
        prior_weight=prior_weight,
        answer_weight=answer_weight,
        dislike_weight=dislike_weight,
    )
    return _ease_agent("ease_friends", state, _friends_prior)


def linear(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    prior_weight: float,
    two_hop_weight: float,
    answer_weight: float,
    dislike_weight: float,
) -> Agent:
    """The tuned linear policy of RECIPE section 1: `ease_friends` + two hops.

    The second hop adds two_hop_weight * mean feedback of the visible users exactly two
    hops away (friends' friends who are neither friends nor the user, each once), or
    nothing where there are none. RECIPE: rank 64, regularisation 300, weights 4, .3,
    3 and .1 in the order of the arguments.
    """
    state = _ease_state(
        dataset,
        rank,
        regularisation,
        prior_weight=prior_weight,
        two_hop_weight=two_hop_weight,
        answer_weight=answer_weight,
        dislike_weight=dislike_weight,
    )

    def prior(state, context, user):
        friends = friends_of(state.social, user)
        two_hops = two_hops_of(state.social, user, friends) * context.visible
        far = mean_feedback(state.social, two_hops)
        return _friends_prior(state, context, user) + state.two_hop_weight * far

    return _ease_agent("linear", state, prior)


def _ease_state(
    dataset: Dataset, rank: int, regularisation: float, **weights: float
) -> EaseState:
    """Factorises; weights not given are those that change nothing."""
    for name, weight in weights.items():
        if weight < 0 or (weight == 0 and name == "prior_weight"):
            raise ValueError(f"{name} must not be negative, got {weight}")
    likes = visible_likes(dataset)
    factors = ease_factors(likes, rank=rank, regularisation=regularisation)
    weights = {"prior_weight": 1.0, "two_hop_weight": 0.0} | weights
    return EaseState(
        social=social_feedback(dataset),
        item_in=jnp.asarray(factors.item_in),
        item_out=jnp.asarray(factors.item_out),
        **{name: jnp.float32(weight) for name, weight in weights.items()},
    )


def _friends_prior(state: EaseState, context: EaseContext, user: jax.Array):
    return mean_feedback(
        state.social,
        friends_of(state.social, user) * context.visible,
        prior=context.popularity,
        prior_weight=state.prior_weight,
    )


def _ease_agent(name: str, state: EaseState, prior) -> Agent:
    """An agent of EASE's weights. prior(state, context, user) -> [N]."""

    def begin(state, context, user, key):
        nothing = jnp.zeros(state.item_in.shape[1])
        return EaseMemory(prior=prior(state, context, user), answers=nothing)

    return Agent(
        name=name,
        init=lambda key: state,
        context=_ease_context,
        begin=begin,
        observe=_observe,
        scores=_scores,
    )


def _ease_context(state: EaseState, masked: jax.Array) -> EaseContext:
    visible = visible_users(state.social, masked)
    popularity = mean_feedback(state.social, visible)
    return EaseContext(visible=visible, popularity=popularity)


def _observe(state, context, memory: EaseMemory, seen: Observation) -> EaseMemory:
    num_items = state.item_in.shape[0]
    weight = seen.liked - state.dislike_weight * (1.0 - seen.liked)
    weight = jnp.where(seen.item < num_items, weight, 0.0)
    shown = state.item_in[jnp.minimum(seen.item, num_items - 1)]
    return memory.replace(answers=memory.answers + weight * shown)


def _scores(state, context, memory: EaseMemory, items) -> jax.Array:
    if items is None:
        prior, item_out = memory.prior, state.item_out
    else:
        prior, item_out = memory.prior[items], state.item_out[items]
    return prior + state.answer_weight * (memory.answers @ item_out.T)
