"""Order head: what showing a candidate now is worth for the steps after it.

The chance of a like, both streaks, the clock and what else could be shown meet in its
layers, so Q is not linear in the chance.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass(kw_only=True)
class Found:
    """Of a moment and its candidates; all 0 in a new head."""

    value: jax.Array  # [] of each later step
    advantage: jax.Array  # [...] of a candidate, for all later steps together
    shift: jax.Array  # [...] of its log-odds now


class OrderHead(nn.Module):
    """Three networks of two hidden layers each."""

    hidden: int

    @nn.compact
    def __call__(self, moment: jax.Array, candidate: jax.Array) -> Found:
        """moment [M], candidates [..., Z]."""
        shape = (*candidate.shape[:-1], moment.shape[-1])
        both = jnp.concatenate([jnp.broadcast_to(moment, shape), candidate], axis=-1)
        return Found(
            value=self._network("value", moment),
            advantage=self._network("advantage", both),
            shift=self._network("shift", both),
        )

    def _network(self, name: str, x: jax.Array) -> jax.Array:
        for layer in ("first", "second"):
            x = nn.relu(nn.Dense(self.hidden, name=f"{name}_{layer}")(x))
        zeros = nn.initializers.zeros
        return nn.Dense(1, kernel_init=zeros, name=f"{name}_last")(x)[..., 0]
