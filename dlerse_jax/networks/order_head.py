"""Order head: what showing a candidate now is worth beyond its chance of a like.

The chance, both streaks, the clock and what else could be shown meet in its layers, so
that the value of a candidate need not be linear in its chance.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class OrderHead(nn.Module):
    """Value of a moment and advantage of a candidate, both 0 in a new head."""

    hidden: int

    @nn.compact
    def __call__(
        self, moment: jax.Array, candidate: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """moment [M], candidates [..., Z] -> value [], advantages [...]."""
        shape = (*candidate.shape[:-1], moment.shape[-1])
        both = jnp.concatenate([jnp.broadcast_to(moment, shape), candidate], axis=-1)
        return self._number("value", moment), self._number("advantage", both)

    def _number(self, name: str, x: jax.Array) -> jax.Array:
        for layer in ("first", "second"):
            x = nn.relu(nn.Dense(self.hidden, name=f"{name}_{layer}")(x))
        zeros = nn.initializers.zeros
        return nn.Dense(1, kernel_init=zeros, name=f"{name}_last")(x)[..., 0]
