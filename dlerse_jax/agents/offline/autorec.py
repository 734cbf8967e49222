"""U-AutoRec: one hidden layer that gives a user's likes back.

Sedhain, Menon, Sanner and Xie, "AutoRec: Autoencoders Meet Collaborative Filtering",
WWW 2015, the user-based form: h(r) = W g(V r + mu) + b with g a sigmoid, fitted by
squared error with L2 of V and W (`weight_decay`). The paper's error counts observed
ratings alone. Likes are all ones, and so would be the answer; as is usual for implicit
feedback, an item that a user did not like counts as an observed zero.

In the loop the likes so far are the row: the sum V r is all that is remembered. A row
without likes is new to the network, which has only seen whole profiles: it gives
W g(mu) + b. Minibatches are whole users: memory is B * (N + M D) floats, M the largest
number of likes of a user.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.offline.base import (
    OfflineState,
    Training,
    no_context,
    offline_agent,
    on_likes,
)
from dlerse_jax.agents.offline.sampling import Feedback, draw_users, training_feedback
from dlerse_jax.environment.simulator import liked_items
from dlerse_jax.types import Agent, Dataset


@struct.dataclass(kw_only=True)
class AutoRecParams:
    """Names as in the paper."""

    item_in: jax.Array  # [N, D] V, transposed
    hidden_bias: jax.Array  # [D] mu
    item_out: jax.Array  # [N, D] W
    item_bias: jax.Array  # [N] b


def autorec(dataset: Dataset, *, width: int, **training) -> Agent:
    """width: of the hidden layer. training: as `offline.Training`, over users."""

    def init_params(key):
        keys, shape = jax.random.split(key), (dataset.num_items, width)
        item_in, item_out = (0.02 * jax.random.normal(key, shape) for key in keys)
        return AutoRecParams(
            item_in=item_in,
            hidden_bias=jnp.zeros(width),
            item_out=item_out,
            item_bias=jnp.zeros(dataset.num_items),
        )

    return offline_agent(
        "autorec",
        training=Training(**training),
        shared=training_feedback(dataset),
        init_params=init_params,
        draw=draw_users,
        loss=_loss,
        context=no_context,
        begin=lambda state, *_: jnp.zeros(width),
        observe=on_likes(lambda state, summed, item: summed + _row(state, item)),
        scores=_scores,
    )


def _row(state: OfflineState, item) -> jax.Array:
    return state.params.item_in[item]


def _reconstruct(params: AutoRecParams, summed, items=None) -> jax.Array:
    """summed [D], V r of a user -> h(r) of items [A], or of all N."""
    rows, biases = params.item_out, params.item_bias
    if items is not None:
        rows, biases = rows[items], biases[items]
    return jax.nn.sigmoid(summed + params.hidden_bias) @ rows.T + biases


def _loss(params: AutoRecParams, feedback: Feedback, users, key, progress):
    """Mean squared error of whole rows, over B users, in sums over items."""
    del key, progress

    def one(user):
        likes = liked_items(feedback.likes, user)
        is_like = likes < feedback.num_items
        rows = params.item_in.at[likes].get(mode="fill", fill_value=0)
        guess = _reconstruct(params, rows.sum(axis=0))
        liked_guess = guess.at[likes].get(mode="fill", fill_value=0)
        # (1 - x)^2 in place of x^2 where the user likes the item
        return jnp.sum(guess**2) + jnp.sum(jnp.where(is_like, 1 - 2 * liked_guess, 0.0))

    return jax.vmap(one)(users).mean()  # adds B


def _scores(state: OfflineState, context, summed, items) -> jax.Array:
    return _reconstruct(state.params, summed, items)
