"""BPR-MF: matrix factorisation that ranks a liked item above one that is not.

Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian Personalized Ranking
from Implicit Feedback", UAI 2009. The score is w_u . h_i + b_i; the loss of a triple
(u, i, j) is -log sigmoid(x_ui - x_uj) plus L2 of the drawn rows.

The method has no vector for a user without visible feedback: such a user starts from
the mean vector of visible training users, which ranks much like popularity. Answers
are folded in with the item side fixed (as in Rendle and Schmidt-Thieme, RecSys 2008):
BPR's own likelihood, with the mean item as the other item of the pair, under a
Gaussian prior with the mean and covariance of the training users' vectors. Each answer
is one Newton step on the posterior, whose covariance is kept up by rank one.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.offline.base import OfflineState, Training, offline_agent
from dlerse_jax.agents.offline.sampling import (
    Feedback,
    draw_pairs,
    known_rows,
    mean_row,
    row_of,
    training_feedback,
)
from dlerse_jax.graph.neighbour_means import visible_users
from dlerse_jax.types import Agent, Dataset, Observation


@struct.dataclass(kw_only=True)
class BprParams:
    """One vector per user and per item."""

    users: jax.Array  # [U, D] w
    items: jax.Array  # [N, D] h
    item_bias: jax.Array  # [N] b


@struct.dataclass(kw_only=True)
class BprContext:
    """What every user of a batch shares."""

    users: jax.Array  # [U, D] own vectors of visible users, else their mean
    mean_user: jax.Array  # [D]
    covariance: jax.Array  # [D, D] of visible users' vectors
    mean_item: jax.Array  # [D]
    mean_bias: jax.Array  # []


@struct.dataclass(kw_only=True)
class BprMemory:
    """What the answers so far say about one user's vector."""

    vector: jax.Array  # [D] posterior mean
    covariance: jax.Array  # [D, D]


def bpr(
    dataset: Dataset,
    *,
    width: int,
    regularisation: float,
    like_weight: float,
    dislike_weight: float,
    **training,
) -> Agent:
    """regularisation of the drawn rows; a dislike counts `dislike_weight` likes.

    training: the keywords of `offline.Training`.
    """
    shared = training_feedback(dataset)

    def init_params(key):
        key_users, key_items = jax.random.split(key)
        shapes = (dataset.num_users, width), (dataset.num_items, width)
        return BprParams(
            users=0.1 * jax.random.normal(key_users, shapes[0]),
            items=0.1 * jax.random.normal(key_items, shapes[1]),
            item_bias=jnp.zeros(dataset.num_items),
        )

    return offline_agent(
        "bpr",
        training=Training(**training),
        shared=shared,
        init_params=init_params,
        draw=draw_pairs,
        loss=functools.partial(_loss, regularisation),
        context=_context,
        begin=_begin,
        observe=functools.partial(_observe, (like_weight, dislike_weight)),
        scores=_scores,
    )


def _loss(
    regularisation, params: BprParams, shared: Feedback, minibatch, key, progress
):
    del shared, key, progress
    users, liked, unliked = minibatch
    user, better, worse = (
        params.users[users],
        params.items[liked],
        params.items[unliked],
    )
    margin = jnp.sum(user * (better - worse), axis=1)
    margin += params.item_bias[liked] - params.item_bias[unliked]
    size = jnp.sum(user**2 + better**2 + worse**2, axis=1)
    return jnp.mean(regularisation * size - jax.nn.log_sigmoid(margin))


def _context(state: OfflineState, masked: jax.Array) -> BprContext:
    params = state.params
    visible = visible_users(state.shared, masked)
    users = known_rows(params.users, visible)
    mean_user = mean_row(params.users, visible)
    # Users who are not visible have the mean row and so add nothing.
    centred = users - mean_user[None]
    return BprContext(
        users=users,
        mean_user=mean_user,
        covariance=centred.T @ centred / jnp.maximum(visible.sum(), 1.0),
        mean_item=params.items.mean(axis=0),
        mean_bias=params.item_bias.mean(),
    )


def _begin(state, context: BprContext, person, key) -> BprMemory:
    del key
    vector = row_of(context.users, context.mean_user, person)
    return BprMemory(vector=vector, covariance=context.covariance)


def _observe(
    weights, state, context: BprContext, memory: BprMemory, seen: Observation
) -> BprMemory:
    """One Newton step on log sigmoid(x_a - mean x), or of the reverse for a dislike."""
    params, num_items = state.params, state.shared.num_items
    item = jnp.minimum(seen.item, num_items - 1)
    like_weight, dislike_weight = weights
    weight = jnp.where(seen.liked > 0, like_weight, dislike_weight)
    weight = jnp.where(seen.item < num_items, weight, 0.0)
    contrast = params.items[item] - context.mean_item
    margin = memory.vector @ contrast + params.item_bias[item] - context.mean_bias
    chance = jax.nn.sigmoid(margin)
    curvature = weight * chance * (1.0 - chance)
    direction = memory.covariance @ contrast
    shrinkage = 1.0 + curvature * contrast @ direction
    step = weight * (seen.liked - chance) / shrinkage
    overlap = jnp.outer(direction, direction)
    return BprMemory(
        vector=memory.vector + step * direction,
        covariance=memory.covariance - curvature / shrinkage * overlap,
    )


def _scores(state, context, memory: BprMemory, items) -> jax.Array:
    params = state.params
    if items is None:
        return memory.vector @ params.items.T + params.item_bias
    return memory.vector @ params.items[items].T + params.item_bias[items]
