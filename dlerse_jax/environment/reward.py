"""Reward and streaks, of one step and of a whole episode.

Simulator, temporal-difference targets and metrics all take them from here. The
equations are operators that NumPy and JAX arrays share. Rewards and streaks are those
of TPGR (Chen et al., AAAI 2019).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any  # jax.Array or np.ndarray, of which these operators mean the same


def streaks_after(
    like_streak: Array, dislike_streak: Array, liked: Array, showed: Array | bool = True
) -> tuple[Array, Array]:
    """Likes and dislikes in a row after one more answer, liked 1 or 0: elementwise.

    Where showed is False nothing was shown, and both stay as they are.
    """
    like_change = liked * (like_streak + 1) - like_streak
    dislike_change = (1 - liked) * (dislike_streak + 1) - dislike_streak
    return (
        like_streak + showed * like_change,
        dislike_streak + showed * dislike_change,
    )


def streak_reward(like_streak: Array, dislike_streak: Array, alpha: Array) -> Array:
    """What the streaks before a step add to its reward, whatever is shown in it."""
    return alpha * (like_streak - dislike_streak)


def step_reward(
    liked: Array,
    like_streak: Array,
    dislike_streak: Array,
    alpha: Array | float,
    miss_reward: Array | float,
) -> Array:
    """Base reward + alpha * (like streak - dislike streak), as they are before a step.

    Elementwise. The base is 1 for a like and `miss_reward` for a dislike.
    """
    base = liked + (1 - liked) * miss_reward
    return base + streak_reward(like_streak, dislike_streak, alpha)


def streaks_before(liked: Array, showed: Array | bool = True) -> tuple[Array, Array]:
    """Likes and dislikes in a row before each step: liked [..., T] -> two [..., T].

    showed [..., T] is False at steps where nothing was shown.
    """
    on_host = isinstance(liked, np.ndarray)
    xp, scan = (np, _loop) if on_host else (jnp, jax.lax.scan)
    answers = (liked, xp.broadcast_to(showed, liked.shape))
    nothing = xp.zeros(liked.shape[:-1])

    def advance(streaks: Any, answer: Any) -> tuple[Any, Any]:
        return streaks_after(*streaks, *answer), streaks

    answers = tuple(xp.moveaxis(each, -1, 0) for each in answers)
    likes, dislikes = scan(advance, (nothing, nothing), answers)[1]
    return xp.moveaxis(likes, 0, -1), xp.moveaxis(dislikes, 0, -1)


def episode_rewards(
    liked: Array,
    showed: Array | bool = True,
    *,
    alpha: Array | float,
    miss_reward: Array | float,
) -> Array:
    """Reward of each step of episodes: liked and showed [..., T] -> [..., T].

    A step in which nothing was shown pays 0 and leaves the streaks as they are.
    """
    streaks = streaks_before(liked, showed)
    return showed * step_reward(liked, *streaks, alpha, miss_reward)


def _loop(advance: Callable[..., Any], carry: Any, inputs: Any) -> tuple[Any, Any]:
    """`jax.lax.scan` in Python: inputs [T, ...] each, outputs stacked."""
    outputs = []
    for each in zip(*inputs, strict=True):
        carry, output = advance(carry, each)
        outputs.append(output)
    return carry, tuple(map(np.stack, zip(*outputs, strict=True)))
