"""Order head: what a candidate's answer is worth beyond its own reward.

The chance of a like, both streaks, the clock and what else could be shown meet in its
layers, and the values of a like and of a dislike are apart: Q = p W_like + (1 - p)
W_dislike is not linear in the chance p, on which W depends too.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

DISLIKE, LIKE = 0, 1  # places of an answer


@struct.dataclass(kw_only=True)
class Found:
    """Of a moment and its candidates; all 0 in a new head."""

    value: jax.Array  # [2] of each later step, after a dislike and after a like
    advantage: jax.Array  # [..., 2] of a candidate, likewise
    shift: jax.Array  # [...] of its log-odds


class OrderHead(nn.Module):
    """Three networks of two hidden layers each."""

    hidden: int

    @nn.compact
    def __call__(self, moment: jax.Array, candidate: jax.Array) -> Found:
        """moment [M], candidates [..., Z]."""
        shape = (*candidate.shape[:-1], moment.shape[-1])
        both = jnp.concatenate([jnp.broadcast_to(moment, shape), candidate], axis=-1)
        return Found(
            value=self._network("value", moment, 2),
            advantage=self._network("advantage", both, 2),
            shift=self._network("shift", both, 1)[..., 0],
        )

    def _network(self, name: str, x: jax.Array, width: int) -> jax.Array:
        for layer in ("first", "second"):
            x = nn.relu(nn.Dense(self.hidden, name=f"{name}_{layer}")(x))
        zeros = nn.initializers.zeros
        return nn.Dense(width, kernel_init=zeros, name=f"{name}_last")(x)
