"""DIN: each like is weighed by a small network of it and the candidate.

Zhou, Zhu, Song and others, "Deep Interest Network for Click-Through Rate Prediction",
KDD 2018. An activation unit weighs each like h by a small network of [h ; h * c ; c],
c being the candidate; the weighted rows are summed, without a softmax, as in the paper;
a second network reads [sum ; sum * c ; c], and an item bias is added, as in the
authors' code. PReLU throughout (Dice, which the paper prefers, needs statistics of a
minibatch); the item is all there is of an advertisement's features. Trained by binary
cross-entropy: a random part of a user's likes is the history, a few others are
candidates beside items that the user does not like.

As the weights are not normalised, the sum over the history grows by one term per like:
a user's memory is that sum for every candidate, N * D floats, in place of N * T
activations per step. Items go through the networks in blocks. Without likes the sum is
zero and the ranking is one for everybody. A dislike changes nothing.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from dlerse_jax.agents.offline.base import (
    OfflineState,
    Training,
    no_context,
    offline_agent,
    on_likes,
)
from dlerse_jax.agents.offline.sampling import (
    Feedback,
    draw_session,
    draw_unliked,
    draw_users,
    training_feedback,
)
from dlerse_jax.types import Agent, Dataset

BLOCK = 512  # static: items that go through a network at a time


class DinNetwork(nn.Module):
    """The item table, the activation unit and the network over both."""

    num_items: int
    width: int
    hidden: int
    dropout: float

    def setup(self):
        rows = nn.initializers.normal(self.width**-0.5)
        self.items = self.param("items", rows, (self.num_items, self.width))
        zeros = nn.initializers.zeros
        self.item_bias = self.param("item_bias", zeros, (self.num_items,))
        self.activation = _tower(self.hidden)
        self.judge = _tower(self.hidden, self.hidden // 2)
        self.drop = nn.Dropout(self.dropout)

    def attend(self, click: jax.Array, candidate: jax.Array) -> jax.Array:
        """Rows [D] of a like and a candidate -> the like's weighted row [D]."""
        both = jnp.concatenate([click, click * candidate, candidate])
        return self.activation(both) * click

    def logit(self, attended: jax.Array, item: jax.Array) -> jax.Array:
        """Sum of weighted rows [D] and the candidate they were weighed for -> []."""
        candidate = self.items[item]
        both = jnp.concatenate([attended, attended * candidate, candidate])
        return self.judge(both)[0] + self.item_bias[item]

    def attend_all(self, item: jax.Array) -> jax.Array:
        """A like's weighted row for every candidate: [N, D]."""
        attend = functools.partial(self.attend, self.items[item])
        return jax.lax.map(attend, self.items, batch_size=BLOCK)

    def logits(self, attended: jax.Array, items: jax.Array) -> jax.Array:
        """attended [A, D], items [A] -> [A]."""
        pairs = attended, items
        return jax.lax.map(lambda pair: self.logit(*pair), pairs, batch_size=BLOCK)

    def __call__(self, history, is_real, item) -> jax.Array:
        """history [L] with is_real [L] bool, item [] -> logit [], with dropout."""
        clicks = self.drop(self.items[history], deterministic=False)
        attend = jax.vmap(self.attend, in_axes=(0, None))  # adds L
        weighted = jnp.where(is_real[:, None], attend(clicks, self.items[item]), 0.0)
        return self.logit(weighted.sum(axis=0), item)


def _tower(*widths: int) -> nn.Module:
    """Layers of these widths with PReLU, then one number."""
    layers = [layer for width in widths for layer in (nn.Dense(width), nn.PReLU())]
    return nn.Sequential([*layers, nn.Dense(1)])


def din(
    dataset: Dataset,
    *,
    width: int,
    hidden: int,
    dropout: float,
    session_length: int,
    num_candidates: int,
    **training,
) -> Agent:
    """hidden: of both networks; dropout: of the history's rows.

    session_length: likes of a history at most; num_candidates: likes per user and
    minibatch, classified against as many other items. training: as `offline.Training`,
    over users.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    if session_length < 1 or num_candidates < 1:
        raise ValueError(
            "session_length and num_candidates must be 1 or more, "
            f"got {session_length} and {num_candidates}"
        )
    network = DinNetwork(
        num_items=dataset.num_items, width=width, hidden=hidden, dropout=dropout
    )

    def init_params(key):
        item = jnp.int32(0)
        rngs = {"params": key, "dropout": key}
        return network.init(rngs, item[None], jnp.ones(1, bool), item)["params"]

    def add_like(state, attended, item):
        variables = {"params": state.params}
        return attended + network.apply(variables, item, method="attend_all")

    return offline_agent(
        "din",
        training=Training(**training),
        shared=training_feedback(dataset),
        init_params=init_params,
        draw=functools.partial(_draw, session_length, num_candidates),
        loss=functools.partial(_loss, network),
        context=no_context,
        begin=lambda state, *_: jnp.zeros((dataset.num_items, width)),
        observe=on_likes(add_like),
        scores=functools.partial(_scores, network),
    )


def _draw(length: int, num_candidates: int, feedback: Feedback, key, count: int):
    """Histories [B, L], their lengths [B], likes and other items [B, C] each.

    Likes that are not there are padded with N.
    """

    def one(user, key):
        key_order, key_share, key_unliked = jax.random.split(key, 3)
        session = draw_session(feedback, user, key_order, length + num_candidates)
        num_likes = jnp.sum(session < feedback.num_items)
        # At least one like is left to be a candidate; the history may be empty.
        share = jax.random.uniform(key_share)
        size = (share * jnp.minimum(num_likes, length + 1)).astype(jnp.int32)
        liked = jax.lax.dynamic_slice(session, (size,), (num_candidates,))
        keys = jax.random.split(key_unliked, num_candidates)
        draw = jax.vmap(draw_unliked, in_axes=(None, None, 0))  # adds C
        return session[:length], size, liked, draw(feedback, user, keys)

    key_users, key = jax.random.split(key)
    users = draw_users(feedback, key_users, count)
    return jax.vmap(one)(users, jax.random.split(key, count))  # adds B


def _loss(network: DinNetwork, params, feedback: Feedback, minibatch, key, progress):
    """Cross-entropy, its mean over likes and as many other items, of B users."""
    del progress

    def one(history, size, liked, unliked, key):
        last = feedback.num_items - 1
        items = jnp.concatenate([jnp.minimum(liked, last), unliked])
        judge = functools.partial(
            network.apply,
            {"params": params},
            jnp.minimum(history, last),
            jnp.arange(history.shape[0]) < size,
            rngs={"dropout": key},
        )
        right, wrong = jnp.split(jax.vmap(judge)(items), 2)  # adds 2 C
        is_real = liked <= last
        losses = jax.nn.softplus(-right) + jax.nn.softplus(wrong)
        return jnp.sum(jnp.where(is_real, losses, 0.0)), is_real.sum()

    keys = jax.random.split(key, minibatch[0].shape[0])
    examples = (*minibatch, keys)
    totals, counts = jax.vmap(one)(*examples)  # adds B
    return totals.sum() / jnp.maximum(counts.sum(), 1)


def _scores(network: DinNetwork, state: OfflineState, context, attended, items):
    if items is None:
        items = jnp.arange(state.shared.num_items)
    else:
        attended = attended[items]
    return network.apply({"params": state.params}, attended, items, method="logits")
