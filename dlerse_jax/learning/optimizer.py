"""The optimiser of both phases: clipped AdamW with a traced learning rate.

The learning rate is multiplied in by the caller, so that it can differ between the
vmapped points of a sweep without a new compile.
"""

import jax
import jax.numpy as jnp
import optax


def make_optimizer(*, clip_norm: float, weight_decay: float):
    """AdamW without its learning rate; decay spares the embedding tables and biases."""

    def decayed(params):
        nothing = jax.tree.map(lambda leaf: False, params)
        kernels = jax.tree.map(lambda leaf: leaf.ndim > 1, params["network"])
        return {**nothing, "network": kernels}

    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=decayed),
    )


def warmup_cosine(
    step: jax.Array, num_steps: jax.Array, warmup: int, floor: float
) -> jax.Array:
    """Factor on the learning rate: up in `warmup` steps, then a cosine to `floor`."""
    rising = (step + 1) / warmup
    progress = jnp.clip((step - warmup) / jnp.maximum(num_steps - warmup, 1), 0, 1)
    falling = floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return jnp.minimum(rising, falling)


def apply_scaled(params, updates, learning_rate: jax.Array):
    """params - learning_rate * updates."""
    return jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
