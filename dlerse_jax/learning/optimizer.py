"""The optimiser of both phases: clipped AdamW with a traced learning rate.

The learning rate is multiplied in by the caller, so that it can differ between the
vmapped points of a sweep without a new compile.
"""

import jax
import jax.numpy as jnp
import optax

# Parameters of the network that are embeddings: the unknown user, places in an episode.
EMBEDDINGS = ("cold_user", "positions")
FLOOR = 0.05  # of the learning rate, at both ends of a phase


def make_optimizer(*, clip_norm: float, weight_decay: float, bias_rate: float):
    """AdamW without its learning rate; decay spares embeddings and biases.

    bias_rate times that rate is what item biases learn at. They start where data put
    them, and at the full rate Adam moves the most popular items past each other.
    """

    def is_kernel(path, leaf) -> bool:
        return leaf.ndim > 1 and path[-1].key not in EMBEDDINGS

    def decayed(params):
        nothing = jax.tree.map(lambda leaf: False, params)
        kernels = jax.tree_util.tree_map_with_path(is_kernel, params["network"])
        return {**nothing, "network": kernels}

    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=decayed),
        optax.masked(optax.scale(bias_rate), _item_bias_alone),
    )


def _item_bias_alone(params):
    nothing = jax.tree.map(lambda leaf: False, params)
    return {**nothing, "item_bias": True}


def warmup_cosine(progress: jax.Array, warmup: float) -> jax.Array:
    """Factor on the learning rate over a phase: progress [] in [0, 1) -> [].

    Rises linearly from `FLOOR` to 1 over the first `warmup` of the phase, then falls
    along a cosine back to `FLOOR`.
    """
    rise = jnp.minimum(progress / max(warmup, 1e-9), 1.0)
    fall = jnp.clip((progress - warmup) / max(1 - warmup, 1e-9), 0.0, 1.0)
    return FLOOR + (1 - FLOOR) * jnp.where(
        progress < warmup, rise, 0.5 * (1 + jnp.cos(jnp.pi * fall))
    )


def apply_scaled(params, updates, learning_rate: jax.Array):
    """params - learning_rate * updates."""
    return jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
