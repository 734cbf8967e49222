"""Dueling head: Q(z, v) = V(z) + A(z, v) - mean of A over the allowed items.

A(z, v) = q . o_v + b_v with q made from z, so the mean has a closed form and an
update touches only the rows of the items played.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.runtime.random_streams import keep_mask


@struct.dataclass(kw_only=True)
class Query:
    """What the head makes of z: all that is left is a product with the item table."""

    value: jax.Array  # [...] V(z)
    direction: jax.Array  # [..., D + R] q, in the space of item_out
    copy_gain: jax.Array | None = None  # [...] g; None without a copy head


class DuelingHead(nn.Module):
    """V and q as two-layer networks of z; q also reads the session embedding.

    q = f(z) + W z + exp(u) m, with m [D] w times the sum of (y - c (1 - y)) e_a over
    the items shown (w is the gain, c the weight of a dislike) and u linear in what f
    and W read. f, W, u and the last layer of V start at zero: a new network ranks by
    item bias and session embedding, which on EASE factors is EASE itself. With a ridge
    posterior, R more dimensions of q and m hold its mean, under a gain of its own.
    """

    width: int
    hidden: int
    dropout: float
    initial_value: float
    remembers: bool  # whether there is a memory path
    copies: bool = False  # whether q comes with a gain of the copy head, exp(u' z)
    ridge_rank: int = 0  # R, dimensions at the end of q that read the ridge posterior

    @nn.compact
    def __call__(self, z: jax.Array, memory: jax.Array, *, train: bool) -> Query:
        """z [..., D'], memory [..., D + R] -> Query with leading axes [...]."""
        drop = self._drop if train and self.dropout else lambda x: x
        z = drop(z)
        rectified = nn.relu(z)
        for_value = nn.relu(nn.Dense(self.hidden, name="value_hidden")(rectified))
        at_start = nn.initializers.constant(self.initial_value)
        zeros = nn.initializers.zeros
        value = nn.Dense(1, kernel_init=zeros, bias_init=at_start, name="value")
        value = value(for_value)[..., 0]
        for_query = nn.relu(nn.Dense(self.hidden, name="query_hidden")(rectified))
        # Paper: f alone. What friends like is nearly linear in their mean feature, and
        # the linear path W z found it where two layers did not.
        for_query = jnp.concatenate([drop(for_query), z], axis=-1)
        parts = (self.width, self.ridge_rank) if self.ridge_rank else (self.width,)
        query = nn.Dense(sum(parts), kernel_init=zeros, name="query")
        direction = query(for_query)
        if self.remembers:
            log_gain = nn.Dense(len(parts), kernel_init=zeros, name="log_gain")
            gains = jnp.exp(log_gain(for_query))
            wide = [
                jnp.broadcast_to(gains[..., i, None], (*gains.shape[:-1], part))
                for i, part in enumerate(parts)
            ]
            gains = jnp.concatenate(wide, axis=-1)
            direction = direction + gains * memory
        gain = None
        if self.copies:
            log_gain = nn.Dense(1, kernel_init=zeros, name="log_copy_gain")(for_query)
            gain = jnp.exp(log_gain)[..., 0]
        return Query(value=value, direction=direction, copy_gain=gain)

    def _drop(self, x: jax.Array) -> jax.Array:
        kept = 1 - self.dropout
        mask = keep_mask(self.make_rng("dropout"), kept, x.shape)
        # Drawn once: XLA would draw it again wherever it is read.
        mask = jax.lax.optimization_barrier(mask)
        return jnp.where(mask, x / kept, 0.0)


def mix_queries(personal: Query, social: Query, share: jax.Array | float) -> Query:
    """Q = 2 (share * Q_personal + (1 - share) * Q_social): share [...] or a number.

    A share of one half is the plain sum of SADQN; SADQN++ learns one for each state.
    """
    share = jnp.asarray(share)

    def mix(personal, social):
        wide = jnp.expand_dims(share, tuple(range(share.ndim, personal.ndim)))
        return 2 * (wide * personal + (1 - wide) * social)

    return jax.tree.map(mix, personal, social)
