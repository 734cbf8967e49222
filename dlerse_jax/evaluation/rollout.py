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
from dlerse_jax.types import Agent, Evaluation


def greedy_rollout(agent: Agent):
    """A compiled function (states, world, users [B], roots [S], candidates).

    It returns items and feedback, [S, B, T] each. candidates [B, C] padded with N
    limit the choice of each user; None allows the catalogue. The users' own feedback
    is hidden from the agent, whether or not they are training users.
    """

    def one_seed(state, world: Simulator, users, root, candidates):
        hidden = jnp.zeros(world.num_users, bool).at[users].set(True)
        context = agent.context(state, hidden)
        key = stream_key(root, "evaluate")
        episodes = rollout(
            agent, state, context, world, users, key, candidates=candidates
        )
        return episodes.items, episodes.feedback

    in_axes = (agent.seed_axes, None, None, 0, None)
    return jax.jit(jax.vmap(one_seed, in_axes=in_axes))  # adds S


def evaluate_users(
    play,
    states,
    world: Simulator,
    users: np.ndarray,
    roots: jax.Array,
    *,
    agent_name: str,
    protocol: str = "cold",
    candidates: np.ndarray | None = None,
) -> Evaluation:
    """Plays `users` [B] with `play`, a function from `greedy_rollout`."""
    users = np.asarray(users)
    items, feedback = jax.device_get(
        play(states, world, jnp.asarray(users), roots, candidates)
    )
    offsets, num_friends = jax.device_get((world.likes.offsets, world.num_friends))
    return Evaluation(
        agent=agent_name,
        protocol=protocol,
        users=users,
        items=items,
        feedback=feedback.astype(np.uint8),
        num_items=world.num_items,
        num_likes=np.diff(offsets)[users],
        num_friends=num_friends[users],
        miss_reward=float(world.miss_reward),
    )
