"""Interests by causal self-attention over the clicks of a session.

The calls and their shapes are those of `encoders.py`. Keys and values of past clicks
are kept, so that acting costs one token per step; learning runs the very same blocks on
all tokens at once. After SASRec (Kang and McAuley, ICDM 2018): one head, two blocks.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

BLOCKS = 2


@struct.dataclass(kw_only=True)
class Past:
    """What one block remembers of the tokens up to now: the last L of them."""

    keys: jax.Array  # [L, H], token t at t % L
    values: jax.Array  # [L, H]


@struct.dataclass(kw_only=True)
class Session:
    """The carry: what each block remembers, and the interest after the last token."""

    pasts: tuple[Past, ...]  # one per block
    num_tokens: jax.Array  # [] int32: clicks up to now, and one for the start
    interest: jax.Array  # [H]


class CausalBlock(nn.Module):
    """x + attention over tokens up to x, then x + MLP(x); layer norm before each."""

    hidden: int

    @nn.compact
    def __call__(
        self, tokens: jax.Array, past: Past, positions: jax.Array
    ) -> tuple[jax.Array, Past]:
        """tokens [A, H] at positions [A] -> [A, H] and the past with them in it."""
        x = nn.LayerNorm()(tokens)
        queries = nn.Dense(self.hidden, use_bias=False, name="query")(x)
        keys = nn.Dense(self.hidden, use_bias=False, name="key")(x)
        values = nn.Dense(self.hidden, use_bias=False, name="value")(x)
        room = past.keys.shape[0]
        slots = positions % room
        past = Past(
            keys=past.keys.at[slots].set(keys),
            values=past.values.at[slots].set(values),
        )
        logits = queries @ past.keys.T / jnp.sqrt(self.hidden)
        # A slot holds the last token that fell on it, this many tokens ago.
        ago = (positions[:, None] - jnp.arange(room)[None, :]) % room
        is_past = ago <= positions[:, None]
        attention = nn.softmax(logits, axis=-1, where=is_past)
        tokens = tokens + attention @ past.values
        x = nn.relu(nn.Dense(self.hidden)(nn.LayerNorm()(tokens)))
        return tokens + nn.Dense(self.hidden)(x), past


class TransformerEncoder(nn.Module):
    """Token 0 is learned and marks the start; token t is click t at position t.

    Stepping beyond `horizon` clicks, the newest take the place of the oldest.
    """

    hidden: int
    horizon: int  # clicks that are remembered, and that `unroll` takes at most

    def setup(self):
        self.embed = nn.Dense(self.hidden)
        self.positions = self.param(
            "positions", nn.initializers.normal(0.02), (self.horizon + 1, self.hidden)
        )
        self.blocks = [CausalBlock(self.hidden) for _ in range(BLOCKS)]
        self.last_norm = nn.LayerNorm()

    def start(self) -> Session:
        # The start has no click: its learned position is all there is to it.
        return self._read(jnp.zeros((1, self.hidden)), self._nothing(), jnp.int32(0))[1]

    def step(self, carry: Session, click: jax.Array) -> Session:
        return self._read(self.embed(click)[None], carry.pasts, carry.num_tokens)[1]

    def interest(self, carry: Session) -> jax.Array:
        return carry.interest

    def unroll(self, clicks: jax.Array) -> jax.Array:
        start = jnp.zeros((1, self.hidden))
        tokens = jnp.concatenate([start, self.embed(clicks)])
        return self._read(tokens, self._nothing(), jnp.int32(0))[0]

    def _nothing(self) -> tuple[Past, ...]:
        room = jnp.zeros((self.horizon + 1, self.hidden))
        return tuple(Past(keys=room, values=room) for _ in range(BLOCKS))

    def _read(
        self, tokens: jax.Array, pasts: tuple[Past, ...], num_before: jax.Array
    ) -> tuple[jax.Array, Session]:
        """tokens [A, H] that follow `num_before` others -> interests [A, H], carry."""
        positions = num_before + jnp.arange(tokens.shape[0])
        x = tokens + self.positions[jnp.minimum(positions, self.horizon)]
        later = []
        for block, past in zip(self.blocks, pasts, strict=True):
            x, past = block(x, past, positions)
            later.append(past)
        x = self.last_norm(x)
        session = Session(
            pasts=tuple(later),
            num_tokens=num_before + tokens.shape[0],
            interest=x[-1],
        )
        return x, session
