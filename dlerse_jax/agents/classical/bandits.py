"""Agents that fit one vector per user to fixed item factors: LinUCB, LinTS, greedy MF.

The factors are made on the host from training users' likes, and from tags where asked
for; an agent's memory is one user's ridge regression. The agents differ in the vector
that an episode starts with and in how they explore. Masked users (`Agent.context`) drop
out of every mean of user vectors; the item factors stay those of all training users.
"""

import functools
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.classical.sources import Sources, make_sources
from dlerse_jax.graph.neighbour_means import (
    SocialFeedback,
    friends_of,
    visible_users,
)
from dlerse_jax.linear_models.cold_items import with_cold_items
from dlerse_jax.linear_models.item_factors import (
    SideInformation,
    svd_factors,
)
from dlerse_jax.linear_models.ridge import (
    Ridge,
    drawn_scores,
    optimistic_scores,
    ridge_start,
    ridge_update,
)
from dlerse_jax.types import Agent, Dataset, Newcomer, Observation


@struct.dataclass(kw_only=True)
class LinearState:
    """Factors and settings; nothing here changes during a run."""

    social: SocialFeedback
    user_factors: jax.Array  # [U, D]
    item_factors: jax.Array  # [N, D]
    regularisation: jax.Array  # [] ridge penalty on leaving the starting vector
    exploration: jax.Array  # [] standard deviations added (LinUCB) or drawn (LinTS)
    prior_weight: jax.Array  # [] friends that the mean user counts for


@struct.dataclass(kw_only=True)
class LinearContext:
    """What every user of a batch shares."""

    visible: jax.Array  # [U] float32: 1 where feedback may be read
    mean_user: jax.Array  # [D] mean factor of visible users


@struct.dataclass(kw_only=True)
class LinearMemory:
    """One user's regression, and what LinTS draws with."""

    ridge: Ridge
    key: jax.Array
    num_answers: jax.Array  # [] int32


def linucb(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    exploration: float,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """theta . q + exploration * sqrt(q' A^-1 q), from theta = 0 for every user.

    side: what the item factors read beside likes; off by default, here and below.
    """
    state = _linear_state(
        dataset,
        rank,
        side,
        sources,
        regularisation=regularisation,
        exploration=exploration,
    )

    def score_all(state, memory):
        return optimistic_scores(memory.ridge, state.exploration)

    return _ridge_agent("linucb", state, _no_prior, score_all)


def lints(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    exploration: float,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """theta . q with theta drawn anew for each step from LinUCB's posterior."""
    state = _linear_state(
        dataset,
        rank,
        side,
        sources,
        regularisation=regularisation,
        exploration=exploration,
    )

    def score_all(state, memory):
        key = jax.random.fold_in(memory.key, memory.num_answers)
        return drawn_scores(memory.ridge, state.item_factors, state.exploration, key)

    return _ridge_agent("lints", state, _no_prior, score_all)


def mf_static(
    dataset: Dataset,
    *,
    rank: int,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """Scores of the user's own factor, or of the mean user where it is not visible.

    A newcomer has the mean user's. Answers change nothing.
    """
    state = _linear_state(dataset, rank, side, sources)

    def begin(state, context, person, key):
        theta = context.mean_user
        if not isinstance(person, Newcomer):
            own = state.user_factors[person]
            theta = jnp.where(context.visible[person] > 0, own, theta)
        return theta @ state.item_factors.T

    return Agent(
        name="mf_static",
        init=lambda key: state,
        context=_linear_context,
        begin=begin,
        observe=lambda state, context, memory, observation: memory,
        scores=lambda state, context, memory, items: _pick(memory, items),
    )


def mf_mean(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """Greedy matrix factorisation, each answer folded in, from the mean user."""
    state = _linear_state(dataset, rank, side, sources, regularisation=regularisation)
    return _ridge_agent("mf_mean", state, _mean_prior, _posterior_mean)


def mf_friends(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    prior_weight: float,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """The same from the mean of visible friends; the mean user is `prior_weight` more.

    A user without visible friends starts from the mean user.
    """
    state = _linear_state(
        dataset,
        rank,
        side,
        sources,
        regularisation=regularisation,
        prior_weight=prior_weight,
    )
    return _ridge_agent("mf_friends", state, _friends_prior, _posterior_mean)


def _linear_state(
    dataset: Dataset,
    rank: int,
    side: SideInformation,
    sources: Sources | None,
    **settings: float,
) -> LinearState:
    """Factorises; settings not given are those that change nothing."""
    for name, number in settings.items():
        if number < 0 or (number == 0 and name != "exploration"):
            raise ValueError(f"{name} must be above 0, got {number}")
    sources = sources or make_sources(dataset, **side)
    factors = svd_factors(sources.rows, rank=rank, spectrum=sources.spectrum)
    settings = {
        "regularisation": 1.0,
        "exploration": 0.0,
        "prior_weight": 1.0,
    } | settings
    return LinearState(
        social=sources.social,
        user_factors=jnp.asarray(factors.users[: dataset.num_users]),
        item_factors=jnp.asarray(with_cold_items(factors.items, dataset)),
        **{name: jnp.float32(number) for name, number in settings.items()},
    )


def _linear_context(state: LinearState, masked: jax.Array) -> LinearContext:
    visible = visible_users(state.social, masked)
    mean_user = visible @ state.user_factors / jnp.maximum(visible.sum(), 1.0)
    return LinearContext(visible=visible, mean_user=mean_user)


def _no_prior(state, context, person):
    return jnp.zeros(state.item_factors.shape[1])


def _mean_prior(state, context, person):
    return context.mean_user


def _friends_prior(state, context, person):
    friends = friends_of(state.social, person) * context.visible
    total = friends @ state.user_factors + state.prior_weight * context.mean_user
    return total / (friends.sum() + state.prior_weight)


def _posterior_mean(state, memory):
    return memory.ridge.scores


def _ridge_agent(name: str, state: LinearState, prior, score_all) -> Agent:
    """An agent that regresses. prior(state, context, person) -> theta [D], score_all
    (state, memory) -> [N]."""
    return Agent(
        name=name,
        init=lambda key: state,
        context=_linear_context,
        begin=functools.partial(_begin, prior),
        observe=_observe,
        scores=lambda state, context, memory, items: _pick(
            score_all(state, memory), items
        ),
    )


def _begin(prior, state, context, person, key) -> LinearMemory:
    theta = prior(state, context, person)
    return LinearMemory(
        ridge=ridge_start(state.item_factors, theta, state.regularisation),
        key=key,
        num_answers=jnp.int32(0),
    )


def _observe(state, context, memory: LinearMemory, seen: Observation) -> LinearMemory:
    ridge = ridge_update(memory.ridge, state.item_factors, seen.item, seen.liked)
    return memory.replace(ridge=ridge, num_answers=memory.num_answers + 1)


def _pick(scores: jax.Array, items: jax.Array | None) -> jax.Array:
    return scores if items is None else scores[items]
