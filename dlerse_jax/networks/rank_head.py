"""Rank head: the log-odds of a like, from the features of an item.

It has no vector of any item or user, so what it learns from some holds for others.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

RIDGE, STEPS = 1e-4, 6  # of `calibrated`
LEAST_SLOPE = 0.1


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


def calibrated(head: dict, features, liked, is_item, *, steps=STEPS) -> dict:
    """Parameters of a new head whose first feature is made log-odds of a like.

    A logistic regression on that feature alone, by so many steps of Newton's method:
    features [..., F], liked and is_item [...] as while training. A new head's log-odds
    are those of one like in two. Unlearning them costs it the order of the first
    feature, which has to shrink while most items are disliked; the line leaves the
    order as it is.
    """
    weights = is_item / jnp.maximum(is_item.sum(), 1)
    inputs = jnp.stack([features[..., 0], jnp.ones_like(features[..., 0])], axis=-1)

    def step(_, line):
        chance = jax.nn.sigmoid(inputs @ line)
        slope = jnp.einsum("...,...i->i", weights * (liked - chance), inputs)
        curve = weights * chance * (1 - chance)
        hessian = jnp.einsum("...,...i,...j->ij", curve, inputs, inputs)
        hessian += RIDGE * jnp.eye(2)
        return line + jnp.linalg.solve(hessian, slope - RIDGE * line)

    rate = jnp.sum(weights * liked)
    odds = jnp.log(rate + RIDGE) - jnp.log(1 - rate + RIDGE)
    line = jax.lax.fori_loop(0, steps, step, jnp.stack([jnp.float32(0), odds]))
    slope = jnp.maximum(line[0], LEAST_SLOPE)
    linear = head["params"]["linear"]
    kernel = linear["kernel"].at[0].set(slope)
    own = {"kernel": kernel, "bias": line[1:]}
    return {**head, "params": {**head["params"], "linear": own}}


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
