"""Ridge regression of one user's answers on fixed item factors, kept up by rank one.

LinUCB, LinTS and matrix factorisation with fold-in are this model with another prior
and another way to explore, so they share it. From item factors q [N, D] and the answers
of an episode come the posterior mean and width of every item's score. An answer costs
one product of a vector with the item table, [D] x [D, N] ([B, D] x [D, N] for B
vmapped users); neither an inverse nor a width is ever computed anew.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.runtime.ranks import check_ranks


@struct.dataclass(kw_only=True)
class Ridge:
    """Posterior of theta given answers y = q . theta, as seen from the items.

    With A = regularisation * I + sum of q q' over the items shown:
    """

    inverse: jax.Array  # [D, D] A^-1
    scores: jax.Array  # [N] q . theta, theta the posterior mean
    widths: jax.Array  # [N] q' A^-1 q, never below 0


@check_ranks(factors=2, theta=1)
def ridge_start(
    factors: jax.Array, theta: jax.Array, regularisation: jax.Array
) -> Ridge:
    """Before the first answer, with prior mean theta [D]; factors [N, D]."""
    return Ridge(
        inverse=jnp.eye(factors.shape[1]) / regularisation,
        scores=theta @ factors.T,
        widths=jnp.sum(factors**2, axis=1) / regularisation,
    )


@check_ranks(factors=2, item=0, liked=0)
def ridge_update(
    ridge: Ridge, factors: jax.Array, item: jax.Array, liked: jax.Array
) -> Ridge:
    """After one answer (Sherman-Morrison): item [] int32, liked [] 1 or 0.

    Item N, which means that nothing was shown, leaves everything as it is.
    """
    num_items = factors.shape[0]
    factor = factors[jnp.minimum(item, num_items - 1)]
    direction = ridge.inverse @ factor
    gain = jnp.where(item < num_items, 1.0 / (1.0 + factor @ direction), 0.0)
    residual = liked - ridge.scores[jnp.minimum(item, num_items - 1)]
    overlap = direction @ factors.T
    return Ridge(
        inverse=ridge.inverse - gain * jnp.outer(direction, direction),
        scores=ridge.scores + gain * residual * overlap,
        # Rounding alone could push a well-known item's width below zero.
        widths=jnp.maximum(ridge.widths - gain * overlap**2, 0.0),
    )


@struct.dataclass(kw_only=True)
class RidgePosterior:
    """The same posterior as a vector, which a network can read.

    A^-1 is kept as I / regularisation minus one outer product per answer: T D numbers
    and operations in place of D^2.
    """

    theta: jax.Array  # [D] mean
    directions: jax.Array  # [T, D] what each answer took off A^-1; zeros to come
    num_answers: jax.Array  # [] int32


@check_ranks(theta=1)
def posterior_start(theta: jax.Array, most_answers: int) -> RidgePosterior:
    """Before the first answer, with prior mean theta [D]."""
    return RidgePosterior(
        theta=theta,
        directions=jnp.zeros((most_answers, theta.shape[0])),
        num_answers=jnp.int32(0),
    )


@check_ranks(factor=1, liked=0)
def posterior_update(
    posterior: RidgePosterior,
    factor: jax.Array,
    liked: jax.Array,
    regularisation: jax.Array,
) -> RidgePosterior:
    """After one answer about an item: factor [D]. Answers beyond T change nothing."""
    known = posterior.directions
    direction = factor / regularisation - (known @ factor) @ known
    gain = 1.0 / (1.0 + factor @ direction)
    gain = jnp.where(posterior.num_answers < known.shape[0], gain, 0.0)
    residual = liked - posterior.theta @ factor
    lost = jnp.sqrt(gain) * direction
    return RidgePosterior(
        theta=posterior.theta + gain * residual * direction,
        directions=known.at[posterior.num_answers].set(lost, mode="drop"),
        num_answers=posterior.num_answers + 1,
    )


def posterior_update_if(
    is_shown: jax.Array, posterior: RidgePosterior, *answer
) -> RidgePosterior:
    """`posterior_update`; unchanged where nothing was shown, is_shown [] bool."""
    return jax.tree.map(
        lambda new, old: jnp.where(is_shown, new, old),
        posterior_update(posterior, *answer),
        posterior,
    )


def optimistic_scores(ridge: Ridge, exploration: jax.Array) -> jax.Array:
    """Upper confidence bound of every item, [N]. LinUCB (Li et al., WWW 2010)."""
    return ridge.scores + exploration * jnp.sqrt(ridge.widths)


@check_ranks(factors=2)
def drawn_scores(
    ridge: Ridge, factors: jax.Array, exploration: jax.Array, key: jax.Array
) -> jax.Array:
    """Scores under theta drawn from N(mean, exploration^2 A^-1), [N].

    Thompson sampling (Agrawal and Goyal, ICML 2013): the same key, the same draw.
    """
    noise = jax.random.normal(key, (factors.shape[1],))
    deviation = jnp.linalg.cholesky(ridge.inverse) @ noise
    return ridge.scores + exploration * (deviation @ factors.T)
