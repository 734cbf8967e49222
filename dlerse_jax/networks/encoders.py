"""Interests: what a user's likes and dislikes of this session say. METHOD section 4.

In go the clicks of one user in order; out comes one interest vector before the first
click and after each one. Every encoder is causal and offers the same three calls:

    start() -> carry                       before the first click
    step(carry, click [C]) -> carry        one click, for acting
    interest(carry) -> [H]
    unroll(clicks [T, C]) -> [T + 1, H]    all at once, for learning; equal to stepping

A click is [e_v * y ; e_v * (1 - y) ; y ; 1 - y] with C = 2 D + 2.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


def click_features(item_vectors: jax.Array, liked: jax.Array) -> jax.Array:
    """item_vectors [..., D], liked [...] 0 or 1 -> clicks [..., 2 D + 2]."""
    like = liked[..., None]
    dislike = 1 - like
    parts = [item_vectors * like, item_vectors * dislike, like, dislike]
    return jnp.concatenate(parts, axis=-1)


class GRUEncoder(nn.Module):
    """h_t = GRU(h_{t-1}, click_t). The paper's encoder; the carry is h itself."""

    hidden: int

    def setup(self):
        self.cell = nn.GRUCell(self.hidden)

    def start(self) -> jax.Array:
        return jnp.zeros(self.hidden)

    def step(self, carry: jax.Array, click: jax.Array) -> jax.Array:
        return self.cell(carry, click)[0]

    def interest(self, carry: jax.Array) -> jax.Array:
        return carry

    def unroll(self, clicks: jax.Array) -> jax.Array:
        scan = nn.scan(
            lambda cell, carry, click: cell(carry, click),
            variable_broadcast="params",
            split_rngs={"params": False},
        )
        first = self.start()
        _, later = scan(self.cell, first, clicks)
        return jnp.concatenate([first[None], later])


ENCODERS = {"gru": GRUEncoder}
