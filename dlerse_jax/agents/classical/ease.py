"""EASE within an episode: a prior score for a new user plus what the answers say.

The prior is popularity or what friends like; each answer adds a row of EASE's item
weights (Steck, WWW 2019). Both are made on the host from training users' likes alone,
and nothing is learned afterwards. Masked users (`Agent.context`) drop out of the
prior; the item weights stay those of all training users.
"""

import dataclasses
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.classical.sources import Sources, make_sources
from dlerse_jax.graph.neighbour_means import (
    SocialFeedback,
    friends_of,
    mean_feedback,
    two_hops_of,
    visible_users,
)
from dlerse_jax.linear_models.cold_items import with_cold_items
from dlerse_jax.linear_models.item_factors import (
    ItemFactors,
    SideInformation,
    ease_factors,
)
from dlerse_jax.types import Agent, Dataset, Newcomer, Observation


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
    """One user's episode: the prior scores, and what the answers added up to."""

    prior: jax.Array  # [N]
    answers: jax.Array  # [D] sum over shown items of (y - dislike_weight (1 - y)) e


def ease_popularity(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    answer_weight: float,
    dislike_weight: float,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """popularity + answer_weight * sum over shown items of (y - w (1 - y)) B[a, .].

    side: what the item weights and popularity read beside likes; off by default.
    """
    state = _ease_state(
        dataset,
        rank,
        regularisation,
        sources or make_sources(dataset, **side),
        answer_weight=answer_weight,
        dislike_weight=dislike_weight,
    )

    def prior(state, context, person):
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
    activity_power: float = 0.0,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """The same, with visible friends' mean feedback in place of popularity.

    Popularity counts for `prior_weight` friends, alone for a friendless user.
    activity_power: of `weigh_by_activity`, here and in `linear`.
    """
    state = _ease_state(
        dataset,
        rank,
        regularisation,
        sources or make_sources(dataset, activity_power=activity_power, **side),
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
    far_hops: int = 2,
    activity_power: float = 0.0,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """`ease_friends` plus two_hop_weight * mean feedback two hops away.

    Those are the visible friends' friends who are neither friends nor the user, each
    counted once; where there are none, nothing is added. With far_hops 3 or more their
    friends are among them, and so on.
    """
    state = _ease_state(
        dataset,
        rank,
        regularisation,
        sources
        or make_sources(
            dataset, far_hops=far_hops, activity_power=activity_power, **side
        ),
        prior_weight=prior_weight,
        two_hop_weight=two_hop_weight,
        answer_weight=answer_weight,
        dislike_weight=dislike_weight,
    )
    agent = _ease_agent("linear", state, neighbourhood_prior)
    return dataclasses.replace(agent, far=(far_hops, None))


def _ease_state(
    dataset: Dataset,
    rank: int,
    regularisation: float,
    sources: Sources,
    **weights: float,
) -> EaseState:
    """Factorises likes and, where the sources have them, tags."""
    factors = ease_factors(
        sources.rows,
        rank=rank,
        regularisation=regularisation,
        spectrum=sources.spectrum,
    )
    return ease_state(dataset, sources.social, factors, **weights)


def ease_state(
    dataset: Dataset, social: SocialFeedback, factors: ItemFactors, **weights: float
) -> EaseState:
    """From likes as they count in means and factors of items that are liked.

    Weights left out change nothing.
    """
    for name, weight in weights.items():
        if weight < 0 or (weight == 0 and name == "prior_weight"):
            raise ValueError(f"{name} must not be negative, got {weight}")
    weights = {"prior_weight": 1.0, "two_hop_weight": 0.0} | weights
    return EaseState(
        social=social,
        item_in=jnp.asarray(with_cold_items(factors.item_in, dataset)),
        item_out=jnp.asarray(with_cold_items(factors.item_out, dataset)),
        **{name: jnp.float32(weight) for name, weight in weights.items()},
    )


def _friends_prior(state: EaseState, context: EaseContext, person):
    return mean_feedback(
        state.social,
        friends_of(state.social, person) * context.visible,
        prior=context.popularity,
        prior_weight=state.prior_weight,
    )


def neighbourhood_prior(
    state: EaseState, context: EaseContext, person: jax.Array | Newcomer
):
    """Smoothed mean feedback of visible friends, and of people two hops away: [N]."""
    friends = friends_of(state.social, person)
    two_hops = two_hops_of(state.social, person, friends) * context.visible
    far = mean_feedback(state.social, two_hops)
    return _friends_prior(state, context, person) + state.two_hop_weight * far


def _ease_agent(name: str, state: EaseState, prior) -> Agent:
    """An agent of EASE's weights. prior(state, context, person) -> [N]."""
    return Agent(
        name=name,
        init=lambda key: state,
        context=ease_context,
        begin=lambda state, context, person, key: start_ease(
            state, prior(state, context, person)
        ),
        observe=lambda state, context, memory, seen: add_answer(state, memory, seen),
        scores=lambda state, context, memory, items: ease_scores(state, memory, items),
    )


def ease_context(state: EaseState, masked: jax.Array) -> EaseContext:
    """masked [U] bool: users whose feedback may not be read, beside unseen users."""
    visible = visible_users(state.social, masked)
    popularity = mean_feedback(state.social, visible)
    return EaseContext(visible=visible, popularity=popularity)


def start_ease(state: EaseState, prior: jax.Array) -> EaseMemory:
    """Before the first answer: prior [N]."""
    return EaseMemory(prior=prior, answers=jnp.zeros(state.item_in.shape[1]))


def add_answer(state: EaseState, memory: EaseMemory, seen: Observation) -> EaseMemory:
    """After one answer; item N, nothing shown, leaves the memory as it is."""
    num_items = state.item_in.shape[0]
    weight = seen.liked - state.dislike_weight * (1.0 - seen.liked)
    weight = jnp.where(seen.item < num_items, weight, 0.0)
    shown = state.item_in[jnp.minimum(seen.item, num_items - 1)]
    return memory.replace(answers=memory.answers + weight * shown)


def ease_scores(state: EaseState, memory: EaseMemory, items) -> jax.Array:
    """Prior and answers together: items [A], or None for all -> [A]."""
    if items is None:
        prior, item_out = memory.prior, state.item_out
    else:
        prior, item_out = memory.prior[items], state.item_out[items]
    return prior + state.answer_weight * (memory.answers @ item_out.T)
