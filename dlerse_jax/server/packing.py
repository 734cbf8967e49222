"""A session's state as one row of words, so that sessions are cheap to stack and keep.

A state is a tree of small arrays; here all of them, of B sessions, are one array
[B, W] uint32, bit for bit.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class StatePacker:
    """Packs and unpacks states that are like one example."""

    def __init__(self, example: Any) -> None:
        """example: arrays or their shapes, with the leading axis B."""
        leaves, self._tree = jax.tree.flatten(example)
        self._shapes = [leaf.shape[1:] for leaf in leaves]
        self._types = [leaf.dtype for leaf in leaves]
        self._widths = [_width(leaf) for leaf in leaves]
        self.pack = jax.jit(self._pack)
        self.unpack = jax.jit(self._unpack)

    def _pack(self, states: Any) -> jax.Array:
        """States with axes [B, ...] -> [B, W] uint32."""
        leaves = jax.tree.leaves(states)
        rows = [_words(leaf).reshape(leaf.shape[0], -1) for leaf in leaves]
        return jnp.concatenate(rows, axis=1)

    def _unpack(self, rows: jax.Array) -> Any:
        """[B, W] uint32 -> the states they were."""
        parts = jnp.split(rows, np.cumsum(self._widths)[:-1].tolist(), axis=1)
        leaves = [
            _value(part, shape, kind)
            for part, shape, kind in zip(parts, self._shapes, self._types, strict=True)
        ]
        return jax.tree.unflatten(self._tree, leaves)


def _is_key(kind: Any) -> bool:
    return jnp.issubdtype(kind, jax.dtypes.prng_key)


def _words(leaf: jax.Array) -> jax.Array:
    if _is_key(leaf.dtype):
        return jax.random.key_data(leaf)
    if leaf.dtype.itemsize == 4:
        return jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    if leaf.dtype == jnp.bool_ or jnp.issubdtype(leaf.dtype, jnp.integer):
        return leaf.astype(jnp.int32).view(jnp.uint32)
    return leaf.astype(jnp.float32).view(jnp.uint32)


def _value(part: jax.Array, shape: tuple[int, ...], kind: Any) -> jax.Array:
    if _is_key(kind):
        return jax.random.wrap_key_data(part.reshape(part.shape[0], *shape, -1))
    part = part.reshape(part.shape[0], *shape)
    if kind.itemsize == 4:
        return jax.lax.bitcast_convert_type(part, kind)
    if kind == jnp.bool_ or jnp.issubdtype(kind, jnp.integer):
        return part.view(jnp.int32).astype(kind)
    return part.view(jnp.float32).astype(kind)


def _width(leaf: Any) -> int:
    """Words of one session's leaf."""
    if _is_key(leaf.dtype):
        words = jax.eval_shape(jax.random.key_data, leaf)
        return math.prod(words.shape[1:])
    return math.prod(leaf.shape[1:])
