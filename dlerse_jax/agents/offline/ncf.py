"""NCF: a network in place of the inner product of a user's and an item's vector.

He, Liao, Zhang, Nie, Hu and Chua, "Neural Collaborative Filtering", WWW 2017: NeuMF,
which joins generalised matrix factorisation and a tower of halving layers, each with
embeddings of its own, trained from scratch (the paper also starts it from its two
halves) by binary cross-entropy on likes and sampled items that are not liked.

The method knows users by their rows alone and has no way to learn from answers: it is
static. A user without visible feedback has the mean rows of visible training users,
and so gets one ranking, much like popularity, whatever they answer.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.offline.base import (
    OfflineState,
    Training,
    keep_memory,
    offline_agent,
)
from dlerse_jax.agents.offline.sampling import (
    Feedback,
    draw_likes,
    draw_unliked,
    known_rows,
    mean_row,
    row_of,
    training_feedback,
)
from dlerse_jax.graph.neighbour_means import visible_users
from dlerse_jax.types import Agent, Dataset

BLOCK = 512  # static: items scored at a time, so that B users need no [B, N, D]


class NeuMF(nn.Module):
    """Logit of a like: h . [p * q ; tower([p' ; q'])], leading axes broadcast."""

    width: int

    @nn.compact
    def __call__(self, user_rows, item_rows) -> jax.Array:
        """Rows are ([..., D] of the product, [..., D] of the tower) -> [...]."""
        (user, tower_user), (item, tower_item) = user_rows, item_rows
        # One layer on the concatenation, as a sum: it broadcasts over users or items.
        hidden = nn.Dense(self.width)(tower_item)
        hidden = nn.relu(hidden + nn.Dense(self.width, use_bias=False)(tower_user))
        hidden = nn.relu(nn.Dense(self.width // 2)(hidden))
        by_product = nn.Dense(1)(user * item)
        return (by_product + nn.Dense(1, use_bias=False)(hidden))[..., 0]


@struct.dataclass(kw_only=True)
class NcfParams:
    """Two tables per side, [.., D] each, and the network."""

    users: tuple[jax.Array, jax.Array]  # [U, D] of the product, [U, D] of the tower
    items: tuple[jax.Array, jax.Array]  # [N, D] likewise
    network: dict


def ncf(dataset: Dataset, *, width: int, num_unliked: int, **training) -> Agent:
    """num_unliked: items that are not liked, drawn beside each like.

    training: the keywords of `offline.Training`.
    """
    if width < 2 or num_unliked < 1:
        raise ValueError(
            "width must be 2 or more and num_unliked 1 or more, "
            f"got {width} and {num_unliked}"
        )
    network = NeuMF(width=width)

    def init_params(key):
        keys = jax.random.split(key, 5)
        sizes = (dataset.num_users,) * 2 + (dataset.num_items,) * 2
        tables = [
            0.1 * jax.random.normal(key, (size, width))
            for key, size in zip(keys, sizes, strict=False)
        ]
        row = (jnp.zeros((1, width)),) * 2
        return NcfParams(
            users=(tables[0], tables[1]),
            items=(tables[2], tables[3]),
            network=network.init(keys[4], row, row)["params"],
        )

    return offline_agent(
        "ncf",
        training=Training(**training),
        shared=training_feedback(dataset),
        init_params=init_params,
        draw=functools.partial(_draw, num_unliked),
        loss=functools.partial(_loss, network),
        context=_context,
        begin=functools.partial(_begin, network),
        observe=keep_memory,
        scores=lambda state, context, memory, items: (
            memory if items is None else memory[items]
        ),
    )


def _draw(num_unliked: int, feedback: Feedback, key, batch_size: int):
    """Users [B] and items [B, 1 + num_unliked], of which the first is liked."""
    key_like, key_unliked = jax.random.split(key)
    slots = draw_likes(feedback, key_like, batch_size)
    users = feedback.users[slots]
    keys = jax.random.split(key_unliked, (batch_size, num_unliked))
    draw = jax.vmap(draw_unliked, in_axes=(None, None, 0))  # adds num_unliked
    unliked = jax.vmap(draw, in_axes=(None, 0, 0))(feedback, users, keys)  # adds B
    return users, jnp.hstack([feedback.likes.items[slots][:, None], unliked])


def _rows(tables, indices):
    return tuple(table[indices] for table in tables)


def _loss(
    network: NeuMF, params: NcfParams, shared: Feedback, minibatch, key, progress
):
    del shared, key, progress
    users, items = minibatch
    logits = network.apply(
        {"params": params.network},
        _rows(params.users, users[:, None]),
        _rows(params.items, items),
    )
    signs = jnp.ones_like(logits).at[:, 1:].set(-1.0)
    return -jnp.mean(jax.nn.log_sigmoid(signs * logits))


def _context(state: OfflineState, masked: jax.Array):
    """Of both tables: rows of users [U, D], the mean [D] for those who are not visible,
    and that mean."""
    visible = visible_users(state.shared, masked)
    return tuple(
        (known_rows(table, visible), mean_row(table, visible))
        for table in state.params.users
    )


def _begin(network: NeuMF, state: OfflineState, context, person, key) -> jax.Array:
    """Logits of every item, [N], for nothing in the episode will change them."""
    del key
    params = state.params
    user_rows = tuple(row_of(known, mean, person) for known, mean in context)

    def score(item):
        return network.apply(
            {"params": params.network}, user_rows, _rows(params.items, item)
        )

    items = jnp.arange(state.shared.num_items)
    return jax.lax.map(score, items, batch_size=BLOCK)
