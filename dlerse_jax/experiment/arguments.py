"""What a Python user hands over: each mistake is a ValueError that names the argument.

Left alone, some would count for something else: -1 is the last user, half an update a
whole one, no name the default agent.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.agents.registry import AGENTS
from dlerse_jax.config_ranges import MOST_INT, check_ranges
from dlerse_jax.runtime.messages import shorten
from dlerse_jax.runtime.numbers import is_whole

FORMER = {"num_fits": "pretrain_updates", "num_updates": "q_learning_updates"}


def check_name(name: Any) -> None:
    """ValueError for what can be no agent's name, as "", which is the config's own."""
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"name is {shorten(repr(name))}, expected one of {', '.join(AGENTS)}"
        )


def check_lengths(
    former: dict[str, int],
    pretrain: int | None,
    q_learning: int | None,
    every: int | None,
) -> None:
    """ValueError for former names, and for numbers that a config would not take."""
    for name in former:
        if name in FORMER:
            raise ValueError(f"train has no {name} any more: it is {FORMER[name]}")
        raise TypeError(f"train() got an unexpected keyword argument {name!r}")
    numbers = {
        "pretrain.num_updates": pretrain,
        "q_learning.num_updates": q_learning,
        "evaluation.every": every,
    }
    given = {name: number for name, number in numbers.items() if number is not None}
    for name, number in given.items():
        if not is_whole(number):
            raise ValueError(f"{name} is {number!r}, expected a whole number")
    check_ranges(given.items())


def checked_users(users: Any, num_users: int, name: str) -> np.ndarray:
    """Users [B] int as an evaluation takes them: each exists, and is there once."""
    if not hasattr(users, "__len__") or isinstance(users, str | set | dict):
        raise ValueError(f"{name} are {shorten(repr(users))}, expected indices [B]")
    found = np.asarray(users)
    if found.ndim != 1 or not found.size or not np.issubdtype(found.dtype, np.integer):
        mend = "; np.flatnonzero makes them of a mask" if found.dtype == bool else ""
        raise ValueError(
            f"{name} are an array of shape {found.shape} and type {found.dtype}, "
            f"expected indices [B] of one user or more{mend}"
        )
    outside = found[(found < 0) | (found >= num_users)]
    if outside.size:
        raise ValueError(
            f"{name} have {outside[0]}, and the world has users 0 to {num_users - 1}"
        )
    again = np.flatnonzero(np.bincount(found) > 1)
    if again.size:  # who would count as two people in an interval
        raise ValueError(f"{name} have {again[0]} more than once; leave one")
    return found


def checked_seeds(seeds: Any) -> jax.Array:
    """Seeds [S] int, also of a list."""
    is_keys = hasattr(seeds, "dtype") and jax.dtypes.issubdtype(
        seeds.dtype, jax.dtypes.prng_key
    )
    found = np.zeros(()) if is_keys else np.asarray(seeds)
    if found.ndim != 1 or not found.size or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"seeds are {shorten(repr(seeds))}, expected whole numbers [S], at least "
            "one, as jax.numpy.arange(4)"
        )
    if np.abs(found).max() > MOST_INT:
        raise ValueError(f"seeds have {found.max()}, expected at most {MOST_INT:,}")
    return jnp.asarray(found, jnp.int32)
