"""What validation and test users like is nowhere in what a deep agent learns.

`test_classical_agents.py` asks the same of the agents without a network.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from small_agents import assert_same, everyday_agent, everyday_learner, one_seed
from worlds import flip_feedback

from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.learning.train_loop import init_states, seed_keys

WORLD, AGENT, CHUNKS = everyday_learner()
UNSEEN = np.concatenate([WORLD.split.validation, WORLD.split.test])
SEEDS = jnp.array([0, 1])


@functools.cache
def _start(agent):
    return jax.device_get(init_states(agent, seed_keys(SEEDS)))


def _trained(world):
    """All that an agent holds after some updates of each phase, and its metrics."""
    states, metrics = jax.tree.map(jnp.array, _start(AGENT)), []
    simulator = make_simulator(world, alpha=0.1, horizon=AGENT.horizon)
    for update in CHUNKS.values():
        states, measured = update(states, simulator, seed_keys(SEEDS), 0, 2)
        metrics.append(measured)
    return jax.device_get((states, metrics))


def test_feedback_of_unseen_users_is_not_in_what_an_agent_starts_with():
    flipped = everyday_agent(flip_feedback(WORLD, UNSEEN))
    assert_same(_start(AGENT), _start(flipped))


def test_feedback_of_unseen_users_is_not_in_what_an_agent_learns():
    assert_same(_trained(WORLD), _trained(flip_feedback(WORLD, UNSEEN)))


def test_feedback_of_training_users_is_in_both():
    other = flip_feedback(WORLD, WORLD.split.train[:7])
    ours, reference = (
        _start(each).shared.tables for each in (AGENT, everyday_agent(other))
    )
    assert np.abs(ours.user - reference.user).max() > 0.01
    (ours, _), (reference, _) = _trained(WORLD), _trained(other)
    assert (ours.replay.feedback != reference.replay.feedback).any()


def test_only_training_users_are_played_and_replayed():
    replay = _trained(WORLD)[0].replay
    for seed in range(len(SEEDS)):
        played = replay.users[seed, : replay.size[seed]]
        assert len(played) and not np.isin(played, UNSEEN).any()


def test_features_of_unseen_users_are_never_read():
    state = one_seed(_start(AGENT))
    tables = state.shared.tables
    changed = tables.replace(user=jnp.array(tables.user).at[UNSEEN].set(9.0))
    nobody = jnp.zeros(WORLD.num_users, bool)
    context = jax.jit(AGENT.context)
    ours = context(state, nobody)
    reference = context(
        state.replace(shared=state.shared.replace(tables=changed)), nobody
    )
    assert_same(*jax.device_get((ours, reference)))
