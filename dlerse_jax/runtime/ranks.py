"""Checks of array ranks where a function is called from outside.

Functions here are written for one example and vmapped by the caller. Fed a batch, most
would broadcast and return nonsense; checked, they refuse. Ranks are known while JAX
traces, so a compiled program has nothing of this in it.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import chex

P = ParamSpec("P")
R = TypeVar("R")
Rank = int | Mapping[str, int] | tuple[int, Mapping[str, int]]

# One person: the index of a user, or a `types.Newcomer`.
PERSON: Rank = (0, {"friends": 1, "two_hops": 1})


def check_ranks(
    **ranks: Rank,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: AssertionError where an argument has another number of axes.

    ranks: by the argument's name, or {field: rank} for one that is a container, or
    both where an argument is an array or a container. What is None is not checked.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            for name, rank in ranks.items():
                _check(function.__name__, name, given.get(name), rank)
            return function(*args, **kwargs)

        # For the test that feeds a batch to each.
        checked.ranks = ranks  # type: ignore[attr-defined]
        return checked

    return decorate


def _check(function: str, name: str, value, rank: Rank) -> None:
    if value is None:
        return
    if isinstance(rank, tuple):
        of_array, of_container = rank
        rank = of_array if hasattr(value, "shape") else of_container
    if isinstance(rank, Mapping):
        for field, of_field in rank.items():
            _check(function, f"{name}.{field}", getattr(value, field), of_field)
        return
    message = (
        f"{function} takes {name} of rank {rank}, got shape "
        f"{getattr(value, 'shape', ())}; vmap over further axes"
    )
    chex.assert_rank(value, rank, custom_message=message)
