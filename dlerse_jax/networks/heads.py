"""Dueling head: Q(z, v) = V(z) + A(z, v) - mean of A over the allowed items.

A(z, v) = q . o_v + b_v with q made from z, so the mean has a closed form and an
update touches only the rows of the items played. METHOD section 7.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass(kw_only=True)
class Query:
    """What the head makes of z: all that is left is a product with the item table."""

    value: jax.Array  # [...] V(z)
    direction: jax.Array  # [..., D] q, in the space of item_out


class DuelingHead(nn.Module):
    """V and q as two-layer networks of z; q also reads the item memory.

    q = f(z) + W z + w exp(u) m, with m [D] the sum of (y - c (1 - y)) e_a over the
    items shown (c is the weight of a dislike) and u linear in what f and W read. f, W
    and u start at zero: a new network ranks by item bias and memory, which on EASE
    factors is EASE itself.
    """

    width: int
    hidden: int
    dropout: float
    initial_value: float
    memory_gain: float  # w; 0 switches the memory path off

    @nn.compact
    def __call__(self, z: jax.Array, memory: jax.Array, *, train: bool) -> Query:
        """z [..., D'], memory [..., D] -> Query with leading axes [...]."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        z = drop(z)
        rectified = nn.relu(z)
        for_value = nn.relu(nn.Dense(self.hidden, name="value_hidden")(rectified))
        at_start = nn.initializers.constant(self.initial_value)
        value = nn.Dense(1, bias_init=at_start, name="value")(for_value)[..., 0]
        zeros = nn.initializers.zeros
        for_query = nn.relu(nn.Dense(self.hidden, name="query_hidden")(rectified))
        # Paper: f alone. What friends like is nearly linear in their mean taste, and
        # the linear path W z found it where two layers did not (docs/results.md).
        for_query = jnp.concatenate([drop(for_query), z], axis=-1)
        direction = nn.Dense(self.width, kernel_init=zeros, name="query")(for_query)
        if self.memory_gain:
            log_gain = nn.Dense(1, kernel_init=zeros, name="log_gain")(for_query)
            direction = direction + self.memory_gain * jnp.exp(log_gain) * memory
        return Query(value=value, direction=direction)


def mix_queries(personal: Query, social: Query, share: jax.Array | float) -> Query:
    """Q = 2 (share * Q_personal + (1 - share) * Q_social): share [...] or a number.

    A share of one half is the plain sum of SADQN; SADQN++ learns one for each state.
    """
    share = jnp.asarray(share)
    wide = share[..., None] if share.ndim else share
    return Query(
        value=2 * (share * personal.value + (1 - share) * social.value),
        direction=2 * (wide * personal.direction + (1 - wide) * social.direction),
    )
