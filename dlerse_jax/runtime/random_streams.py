"""Random streams: a root key per run, a named stream per consumer, a key per step.

So a resumed run needs its seed and step alone, and a new consumer changes no other
draw. `keep_mask` is a cheap draw for what needs millions of bits per update.
"""

import math

import jax
import jax.numpy as jnp

STREAMS = {
    name: number
    for number, name in enumerate(
        (
            "init",
            "pretrain",
            "q_learning",
            "evaluate",
            "users",
            "mask",
            "act",
            "replay",
            "replay_mask",
            "dropout",
            "friends",
            "replay_friends",
            "friendless",
        )
    )
}


def stream_key(root: jax.Array, name: str, step: jax.Array | int = 0) -> jax.Array:
    """The key of one consumer at one step; KeyError on a stream that does not exist."""
    return jax.random.fold_in(jax.random.fold_in(root, STREAMS[name]), step)


def stream_keys(root: jax.Array, *names: str) -> dict[str, jax.Array]:
    """The keys that `stream_key` gives several consumers at step 0, in one program.

    Each fold of its own is some ten small kernels to compile.
    """
    numbers = jnp.array([STREAMS[name] for name in names], jnp.uint32)
    keys = jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers)
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys)  # both add streams
    return {name: keys[place] for place, name in enumerate(names)}


def keep_mask(key: jax.Array, chance: float, shape: tuple[int, ...]) -> jax.Array:
    """True with this chance, independently for each place: bool of this shape.

    Dropout draws more bits than everything else together, and JAX's threefry is slow
    on a CPU to run and to compile. This hashes the number of the place instead, between
    the two words of the key: a few whole-number operations, that XLA fuses into their
    reader. Good for masks; not for what must pass every test of randomness.
    """
    size = math.prod(shape)
    first, second = jax.random.key_data(key).astype(jnp.uint32)
    words = _mix(_mix(jnp.arange(size, dtype=jnp.uint32) ^ first) + second)
    return (words < jnp.uint32(min(chance * 2**32, 2**32 - 1))).reshape(shape)


def _mix(word: jax.Array) -> jax.Array:
    """A bijection of 32 bits: each bit of the result depends on all bits of `word`.

    "lowbias32" of C. Wellons, Prospecting for hash functions, 2018.
    """
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)
