"""linear_plus: the policy without learning that dlerse_plus starts from.

Friends' and friends' friends' likes, EASE on likes and tags, and a ridge regression on
the answers, all from training users' feedback and all linear algebra. Training of
dlerse_plus or dlerse_rank is worth what it adds to this.
"""

import functools
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.classical.ease import (
    EaseContext,
    EaseMemory,
    EaseState,
    add_answer,
    ease_context,
    ease_scores,
    ease_state,
    neighbourhood_prior,
    start_ease,
)
from dlerse_jax.agents.classical.sources import Sources, make_sources
from dlerse_jax.linear_models.cold_items import with_cold_items, with_zero_rows
from dlerse_jax.linear_models.item_factors import (
    SideInformation,
    ease_factors,
    ridge_factors,
)
from dlerse_jax.linear_models.ridge import (
    Ridge,
    RidgePosterior,
    posterior_start,
    posterior_update_if,
    ridge_start,
    ridge_update,
)
from dlerse_jax.linear_models.spectra import gram_spectrum
from dlerse_jax.types import Agent, Dataset, Observation


@struct.dataclass(kw_only=True)
class LinearPlusState:
    """Factors and settings; nothing here changes during a run."""

    ease: EaseState
    ridge_items: jax.Array  # [N, R] a regression's score of an item is theta . row
    ridge_projection: jax.Array  # [N, R] theta of a user is their prior row @ this
    ridge_regularisation: jax.Array  # [] penalty on leaving the theta of the prior
    ridge_weight: jax.Array  # [] of the regression's score beside the others


@struct.dataclass(kw_only=True)
class LinearPlusMemory:
    """One user's episode: what EASE carries, and the regression on the answers."""

    ease: EaseMemory
    ridge: Ridge | RidgePosterior


def linear_plus(
    dataset: Dataset,
    *,
    rank: int,
    regularisation: float,
    prior_weight: float,
    two_hop_weight: float,
    answer_weight: float,
    dislike_weight: float,
    ridge_rank: int,
    ridge_power: float,
    ridge_regularisation: float,
    ridge_weight: float,
    most_answers: int = 0,
    far_hops: int = 2,
    activity_power: float = 0.0,
    sources: Sources | None = None,
    **side: Unpack[SideInformation],
) -> Agent:
    """`linear` plus ridge_weight * theta . item, theta a ridge regression on answers.

    The regression starts from the theta of what people around the user like, so its
    score counts before the first answer as well. Where dlerse_plus reads as many
    answers as an episode has, this one reads all, a primed past included; with
    most_answers it reads so many, and the same episode is played in half of the time.
    """
    _check(ridge_rank, ridge_weight, ridge_regularisation)
    sources = sources or make_sources(
        dataset, far_hops=far_hops, activity_power=activity_power, **side
    )
    rows = sources.rows
    spectrum = sources.spectrum or gram_spectrum(rows, max(rank, ridge_rank))
    factors = ease_factors(
        rows, rank=rank, regularisation=regularisation, spectrum=spectrum
    )
    ridge = ridge_factors(rows, rank=ridge_rank, power=ridge_power, spectrum=spectrum)
    state = LinearPlusState(
        ease=ease_state(
            dataset,
            sources.social,
            factors,
            prior_weight=prior_weight,
            two_hop_weight=two_hop_weight,
            answer_weight=answer_weight,
            dislike_weight=dislike_weight,
        ),
        ridge_items=jnp.asarray(with_cold_items(ridge.items, dataset)),
        ridge_projection=jnp.asarray(with_zero_rows(ridge.projection, dataset)),
        ridge_regularisation=jnp.float32(ridge_regularisation),
        ridge_weight=jnp.float32(ridge_weight),
    )
    return Agent(
        name="linear_plus",
        far=(far_hops, None),
        init=lambda key: state,
        context=lambda state, masked: ease_context(state.ease, masked),
        begin=functools.partial(_begin, most_answers),
        observe=_observe,
        scores=_scores,
    )


def _check(ridge_rank: int, ridge_weight: float, ridge_regularisation: float) -> None:
    if ridge_rank < 1:
        raise ValueError(f"ridge_rank must be 1 or more, got {ridge_rank}")
    if ridge_weight < 0:
        raise ValueError(f"ridge_weight must not be negative, got {ridge_weight}")
    if ridge_regularisation <= 0:
        raise ValueError(
            f"ridge_regularisation must be above 0, got {ridge_regularisation}"
        )


def _begin(
    most_answers: int, state: LinearPlusState, context: EaseContext, person, key
) -> LinearPlusMemory:
    prior = neighbourhood_prior(state.ease, context, person)
    theta = prior @ state.ridge_projection
    ridge: Ridge | RidgePosterior
    if most_answers:
        ridge = posterior_start(theta, most_answers)
    else:
        ridge = ridge_start(state.ridge_items, theta, state.ridge_regularisation)
    return LinearPlusMemory(ease=start_ease(state.ease, prior), ridge=ridge)


def _observe(
    state: LinearPlusState, context, memory: LinearPlusMemory, seen: Observation
) -> LinearPlusMemory:
    return LinearPlusMemory(
        ease=add_answer(state.ease, memory.ease, seen),
        ridge=_answered(state, memory.ridge, seen),
    )


def _answered(state: LinearPlusState, ridge, seen: Observation):
    if isinstance(ridge, Ridge):
        return ridge_update(ridge, state.ridge_items, seen.item, seen.liked)
    num_items = state.ridge_items.shape[0]  # item N: nothing was shown
    item = state.ridge_items[jnp.minimum(seen.item, num_items - 1)]
    answer = item, seen.liked, state.ridge_regularisation
    return posterior_update_if(seen.item < num_items, ridge, *answer)


def _scores(state: LinearPlusState, context, memory: LinearPlusMemory, items):
    expected = _expected(state, memory.ridge, items)
    return ease_scores(state.ease, memory.ease, items) + state.ridge_weight * expected


def _expected(state: LinearPlusState, ridge, items) -> jax.Array:
    """The regression's scores: items [A], or None for all -> [A]."""
    if isinstance(ridge, Ridge):
        return ridge.scores if items is None else ridge.scores[items]
    return (
        ridge.theta
        @ (state.ridge_items if items is None else state.ridge_items[items]).T
    )
