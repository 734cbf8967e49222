"""Greedy rollout of every evaluated user, all seeds, in one compiled call.

In go an agent, its states, a world and users; out comes an `Evaluation`: one answer a
user and step, from which every metric is taken.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.keys import stream_key
from dlerse_jax.rollout import rollout
from dlerse_jax.simulator import Simulator
from dlerse_jax.types import Agent, Dataset, Evaluation


def greedy_rollout(agent: Agent):
    """A compiled function (states, world, users [B], roots [S], candidates) -> items
    and feedback, [S, B, T] each. candidates [B, C] or None."""

    def one_seed(state, world: Simulator, users, root, candidates):
        hidden = jnp.zeros(world.num_users, bool).at[users].set(True)
        context = agent.context(state, hidden)
        key = stream_key(root, "evaluate")
        episodes = rollout(
            agent, state, context, world, users, key, candidates=candidates
        )
        return episodes.items, episodes.feedback

    return jax.jit(
        jax.vmap(one_seed, in_axes=(agent.seed_axes, None, None, 0, None))
    )  # adds S


def evaluate_users(
    play,
    states,
    world: Simulator,
    dataset: Dataset,
    users: np.ndarray,
    roots,
    *,
    agent_name: str,
    protocol: str = "cold",
    candidates=None,
) -> Evaluation:
    """Plays `users` [B] with a function from `greedy_rollout` -> Evaluation."""
    items, feedback = jax.device_get(
        play(states, world, jnp.asarray(users), roots, candidates)
    )
    return Evaluation(
        agent=agent_name,
        protocol=protocol,
        users=np.asarray(users),
        items=items,
        feedback=feedback.astype(np.uint8),
        num_items=dataset.num_items,
        num_likes=dataset.num_likes[users],
        num_friends=dataset.num_friends[users],
        miss_reward=float(world.miss_reward),
    )
