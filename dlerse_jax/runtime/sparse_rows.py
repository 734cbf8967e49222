"""Sparse rows on the device: places are int32 there."""

import jax
import jax.numpy as jnp
import numpy as np


def row_starts(offsets: np.ndarray, what: str) -> jax.Array:
    """Where the rows of a sparse table start, for the device: [rows + 1] int32.

    ValueError where there are more entries than an int32 can count.
    """
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(
            f"the data set has {offsets[-1]} {what}, and places are counted in int32: "
            f"at most {np.iinfo(np.int32).max}; leave some users out"
        )
    return jnp.asarray(offsets.astype(np.int32))
