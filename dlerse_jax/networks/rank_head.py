"""Rank head: the log-odds of a like, from the features of an item.

It has no vector of any item or user, so what it learns from some holds for others.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct


class RankHead(nn.Module):
    """Two hidden layers beside a linear path.

    A new head returns the first feature: the linear path starts as that, and the last
    layer at zero.
    """

    hidden: int

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """features [..., F], standardised -> [...]."""
        x = nn.relu(nn.Dense(self.hidden, name="first")(features))
        x = nn.relu(nn.Dense(self.hidden, name="second")(x))
        zeros = nn.initializers.zeros
        found = nn.Dense(1, use_bias=False, kernel_init=zeros, name="found")(x)
        linear = nn.Dense(1, kernel_init=_first_alone, name="linear")(features)
        return (linear + found)[..., 0]


def _first_alone(key, shape, dtype=jnp.float32) -> jax.Array:
    del key
    return jnp.zeros(shape, dtype).at[0].set(1)


@struct.dataclass(kw_only=True)
class Moments:
    """Mean and variance of features, over all that was seen so far."""

    mean: jax.Array  # [F]
    variance: jax.Array  # [F]
    count: jax.Array  # [] batches seen


def no_moments(num_features: int) -> Moments:
    """Before the first batch: standardising changes nothing."""
    return Moments(
        mean=jnp.zeros(num_features),
        variance=jnp.ones(num_features),
        count=jnp.float32(0),
    )


def seen(moments: Moments, features: jax.Array, counts: jax.Array) -> Moments:
    """After one more batch: features [..., F], counts [...] bool (what is real)."""
    weights = counts / jnp.maximum(counts.sum(), 1)
    axes = tuple(range(weights.ndim))
    mean = jnp.sum(weights[..., None] * features, axis=axes)
    square = jnp.sum(weights[..., None] * features**2, axis=axes)
    step = 1 / (moments.count + 1)
    old_square = moments.variance + moments.mean**2
    new_mean = moments.mean + step * (mean - moments.mean)
    new_square = old_square + step * (square - old_square)
    return Moments(
        mean=new_mean,
        variance=jnp.maximum(new_square - new_mean**2, 0.0),
        count=moments.count + 1,
    )


def standardised(moments: Moments, features: jax.Array) -> jax.Array:
    """Mean 0 and variance 1 per feature; one that never varied stays near 0."""
    mean, variance = (
        jnp.broadcast_to(moment, features.shape)
        for moment in (moments.mean, moments.variance)
    )
    return (features - mean) / jnp.sqrt(variance + 1e-6)
