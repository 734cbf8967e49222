"""Early stopping: of all parameters a run has had, those that validation liked best.

In go the parameters that an agent plays with and, at each validations,
how they were served; out come the parameters to evaluate on test users, seed by seed.
The start counts too: where training helps nobody, a run ends as the policy it began as.
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
class BestCheckpoint:
    """What a run would be evaluated with if it ended now."""

    params: Any  # the agent's `served` field, [S, ...] a leaf
    score: jax.Array  # [S] mean precision of validation users; nan before a validation
    step: jax.Array  # [S] int32: updates done when they were looked at


def start_best(
    agent: Agent, states, num_seeds: int, keep: str
) -> BestCheckpoint | None:
    """The parameters of fresh states, not looked at yet; None where none are kept.

    A copy of them: training gives the states' own memory away. keep is a word of KEEP.
    """
    if keep == "last" or not agent.served:
        return None
    return BestCheckpoint(
        params=jax.tree.map(_copy, getattr(states, agent.served)),
        score=sharding.device_copy(np.full(num_seeds, np.nan, np.float32)),
        step=sharding.device_copy(np.zeros(num_seeds, np.int32)),
    )


def _copy(leaf: jax.Array) -> jax.Array:
    return sharding.device_copy(np.asarray(leaf))


def update_best(
    agent: Agent, best: BestCheckpoint, states, score: np.ndarray, step: int
) -> BestCheckpoint:
    """After a validation at states that gave score [S]: seeds that rose keep these."""
    return _update_best(best, getattr(states, agent.served), jnp.float32(score), step)


@jax.jit
def _update_best(best: BestCheckpoint, params, score, step) -> BestCheckpoint:
    rose = ~(score <= best.score)  # anything is better than nan

    def choose(new, old):
        return jnp.where(rose.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(
        choose,
        BestCheckpoint(params=params, score=score, step=jnp.full_like(best.step, step)),
        best,
    )


def with_best(agent: Agent, states, best: BestCheckpoint | None):
    """The states, playing with what is kept."""
    return states if best is None else states.replace(**{agent.served: best.params})
