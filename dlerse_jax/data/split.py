"""Deals users out to training, validation and test, by user and reproducibly."""

import numpy as np

from dlerse_jax.types import Split


def split_users(num_users: int, split: int) -> Split:
    """80/10/10 of the users 0..num_users-1, which stand in order of their ids.

    The first num_users // 10 of `default_rng(split).permutation(num_users)` are test,
    the next as many validation, the rest train; each part comes back sorted. With
    fewer than 10 users validation and test are empty. `split` is an integer >= 0:
    anything else is a ValueError. Source: METHOD.md, section 1.
    """
    is_integer = isinstance(split, int | np.integer) and not isinstance(split, bool)
    if not is_integer or split < 0:
        raise ValueError(f"split is {split!r}, expected an integer 0, 1, 2, ...")
    order = np.random.default_rng(split).permutation(num_users).astype(np.int32)
    test, validation, train = np.split(order, [num_users // 10, num_users // 10 * 2])
    return Split(
        train=np.sort(train), validation=np.sort(validation), test=np.sort(test)
    )
