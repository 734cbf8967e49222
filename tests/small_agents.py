"""Deep agents that compile and train in seconds."""

import functools

import jax
import numpy as np
from worlds import friends_decide

from dlerse_jax.agents.dqn.factory import deep_agent
from dlerse_jax.agents.dqn.learner import Plan
from dlerse_jax.learning.optimizer import make_optimizer
from dlerse_jax.learning.train_loop import PHASES, train_chunk
from dlerse_jax.types import Dataset

SETTINGS = {
    "gamma": 0.5,
    "learning_rate": 0.01,
    "pretrain_learning_rate": 0.01,
    "epsilon_first": 1.0,
    "epsilon_last": 0.2,
    "pretrain_epsilon": 0.3,
    "mask_least": 0.0,
    "mask_most": 0.2,
    "target_step": 0.1,
    "average_step": 0.1,
    "supervised_weight": 0.0,
    "contrastive_weight": 0.0,
}


def small_plan(horizon: int) -> Plan:
    return Plan(
        act_batch=16,
        batch_size=32,
        replay_capacity=128,
        warmup=0.1,
        pretrain_loss="squared",
        pretrain_steps=1,
        horizon=horizon,
    )


def small_agent(world: Dataset, horizon: int, settings=None, **changes):
    """DLERSE-con with one hop, or whatever the changes make of it."""
    choices = {
        "miss_reward": -1.0,
        "factors": "svd",
        "factor_regularisation": 1.0,
        "train_tables": False,
        "width": 8,
        "hidden": 16,
        "hops": 1,
        "fan_out": 0,
        "heads": 1,
        "fusion": "con",
        "encoder": "gru",
        "dropout": 0.0,
        "session_gain": 0.0,
        "dislike_weight": 0.1,
        "block": 0,
        "plus": None,
        "optimizer": make_optimizer(clip_norm=1.0, weight_decay=0.0, bias_rate=1.0),
        "exploration": "uniform",
    }
    return deep_agent(
        "small",
        world,
        settings=SETTINGS | (settings or {}),
        plan=small_plan(horizon),
        **choices | changes,
    )


@functools.cache
def everyday_learner():
    """A world, an agent that uses all parts, and a chunk of two updates a phase.

    Made once for all test files: its two chunks compile for ten seconds each. Every
    user likes half of the items, so a flipped world has the same shapes.
    """
    world = friends_decide()
    agent = everyday_agent(world)
    return world, agent, {phase: train_chunk(agent, phase, 2) for phase in PHASES}


def everyday_agent(world: Dataset):
    """What `everyday_learner` trains, for this or another world."""
    return small_agent(
        world, 3, factors="ease", session_gain=3.0, dropout=0.2, hops=2, width=4
    )


def assert_same(ours, reference) -> None:
    """Equal to the bit, leaf by leaf."""
    jax.tree.map(np.testing.assert_array_equal, ours, reference)


def one_seed(states, seed=0):
    """The state of one seed, without the axis of seeds."""
    alone = jax.tree.map(lambda leaf: leaf[seed], states.replace(shared=None))
    return alone.replace(shared=states.shared)


def q_of_catalogue(agent, state, context, memory, is_allowed):
    """Q of every item [N] for one user, from the advantages that an agent scores."""
    advantage = agent.scores(state, context, memory, None)
    return memory.query.value + advantage - advantage.mean(where=is_allowed)
