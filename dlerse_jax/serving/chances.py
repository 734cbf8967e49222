"""The chance of a like, for agents whose scores are one by what they were trained on.

dlerse_rank is trained on whether candidates are liked, by cross entropy: its score is
a log-odds, unless it learns an order too. A deep agent that was selected before any
Q-learning minimised, over all items still allowed, the cross entropy or the squared
error of Q against likes: then Q is a log-odds, or the mean reward of a like. Q-learning
adds what comes later and the streaks, so after it Q is no chance; other agents rank and
do not say how likely a like is. None of these numbers was calibrated on users
apart from training.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlerse_jax.agents.registry import DEEP, RANK
from dlerse_jax.experiment.restore import Restored
from dlerse_jax.types import Context, State

Shared = tuple[State, Context]  # of an agent and one seed
# (shared, memory, items [A], answered [P]) -> chances [A]
ChanceFn = Callable[..., jax.Array]


def chance_of(restored: Restored, seed: int) -> ChanceFn | None:
    """What makes chances of one person's session; None where the agent has none."""
    place = restored.selected[seed] if restored.selected else {"update": 0}
    if not place["update"]:
        return None
    agent = restored.agent
    if agent.name == RANK and agent.q_learning is None:

        def of_candidates(shared: Shared, memory, items, answered):
            del answered
            return jax.nn.sigmoid(agent.scores(*shared, memory, items))

        return of_candidates
    if agent.name not in DEEP or place["phase"] != "pretrain" or not agent.source:
        return None
    config, num_items = agent.source.config, restored.dataset.num_items
    loss, miss = config["pretrain"]["loss"], config["reward"]["miss"]

    def of_values(shared: Shared, memory, items, answered):
        scores = functools.partial(agent.scores, *shared, memory)
        mean = mean_left(scores, shared[1].sums, memory, answered, num_items)
        value = memory.query.value - mean + scores(items)
        if loss == "squared":
            return jnp.clip((value - miss) / (1 - miss), 0, 1)
        return jax.nn.sigmoid(value)

    return of_values


def mean_left(scores, sums, memory, answered: jax.Array, num_items: int) -> jax.Array:
    """Mean advantage of all items but those answered [P], each there once: [].

    In closed form, so that no catalogue is too large: see `networks.q_network`.
    """
    query, copied = memory.query, memory.social.copied
    total = query.direction @ sums.vectors + sums.biases
    if copied is not None:
        total += query.copy_gain * copied.sum()
    is_answered = answered < num_items
    gone = scores(jnp.minimum(answered, num_items - 1))
    gone = jnp.sum(gone, where=is_answered)
    return (total - gone) / (num_items - is_answered.sum())
