"""Fusion of interests and social influence into one state.

DLERSE-add and DLERSE-con differ in this module alone; the other kinds are ablations.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

FUSIONS = ("con", "add", "gate", "none", "social_only")
# SADQN's: two heads, whose Q-values are summed in place of their inputs.
TWO_HEADED = ("sum_heads", "gate_heads")


class Fusion(nn.Module):
    """z from interest h, social influence k and the clock of the episode.

    add: h + k.  con: W [h ; k] + b.  gate: g h + (1 - g) k, g = sigmoid(W [h ; k]).
    none: h.  social_only: k. To each is added W_c clock: how late it is and how long
    the current streaks are, which alpha pays for.
    """

    kind: str
    width: int

    @nn.compact
    def __call__(self, h: jax.Array, k: jax.Array, clock: jax.Array) -> jax.Array:
        """h [..., H], k [D], clock [..., 3] -> z [..., D]; none gives [..., H]."""
        k = jnp.broadcast_to(k, (*h.shape[:-1], k.shape[-1]))
        fused = self._fuse(h, k)
        late = nn.Dense(fused.shape[-1], use_bias=False, name="clock")(clock)
        return fused + late

    def _fuse(self, h: jax.Array, k: jax.Array) -> jax.Array:
        if self.kind == "add":
            return h + k
        if self.kind == "con":
            return nn.Dense(self.width)(jnp.concatenate([h, k], axis=-1))
        if self.kind == "gate":
            both = jnp.concatenate([h, k], axis=-1)
            gate = nn.sigmoid(nn.Dense(self.width)(both))
            return gate * h + (1 - gate) * k
        return k if self.kind == "social_only" else h
