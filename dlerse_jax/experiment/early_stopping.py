"""Early stopping: of all parameters a run has had, those that validation liked best.

In go the parameters that an agent plays with and, at each look at the validation users,
how they were served; out come the parameters to judge on test users, seed by seed. The
start counts too: where training helps nobody, a run ends as the policy it began as.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlerse_jax.runtime import sharding
from dlerse_jax.types import Agent

KEEP = ("best", "last")


@struct.dataclass(kw_only=True)
class Kept:
    """What a run would be judged with if it ended now."""

    params: Any  # the agent's `served` field, [S, ...] a leaf
    score: jax.Array  # [S] mean precision of validation users; nan before a look
    step: jax.Array  # [S] int32: updates done when they were looked at


def keep_start(agent: Agent, states, num_seeds: int, keep: str) -> Kept | None:
    """The parameters of fresh states, not looked at yet; None where none are kept.

    A copy of them: training gives the states' own memory away. keep is a word of KEEP.
    """
    if keep == "last" or not agent.served:
        return None
    return Kept(
        params=jax.tree.map(_copy, getattr(states, agent.served)),
        score=sharding.fresh(np.full(num_seeds, np.nan, np.float32)),
        step=sharding.fresh(np.zeros(num_seeds, np.int32)),
    )


def _copy(leaf: jax.Array) -> jax.Array:
    return sharding.fresh(np.asarray(leaf))


def keep_better(agent: Agent, kept: Kept, states, score: np.ndarray, step: int) -> Kept:
    """After a look at states that gave score [S]: seeds that rose keep these."""
    return _keep_better(kept, getattr(states, agent.served), jnp.float32(score), step)


@jax.jit
def _keep_better(kept: Kept, params, score, step) -> Kept:
    rose = ~(score <= kept.score)  # anything is better than nan

    def choose(new, old):
        return jnp.where(rose.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(
        choose,
        Kept(params=params, score=score, step=jnp.full_like(kept.step, step)),
        kept,
    )


def serving(agent: Agent, states, kept: Kept | None):
    """The states, playing with what is kept."""
    return states if kept is None else states.replace(**{agent.served: kept.params})
