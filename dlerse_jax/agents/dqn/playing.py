"""Fresh episodes for an update: who plays, who is masked, and what is learned from it.

What was computed while playing is there for a gradient: pre-training learns from the
steps it has just played, and goes through the graph and the encoder once.
"""

import jax
from flax import struct

from dlerse_jax.agents.dqn.acting import Acting, Policy
from dlerse_jax.agents.dqn.hyperparameters import Plan
from dlerse_jax.agents.dqn.policy import (
    Context,
    Memory,
    acted_interest,
    greedy_policy,
    policy_context,
)
from dlerse_jax.environment.rollout import Exploration, recorded_rollout
from dlerse_jax.networks.encoders import STEPWISE
from dlerse_jax.runtime import sharding
from dlerse_jax.types import Episodes

KEYS = ("users", "mask", "friends", "act", "dropout")  # streams of an update
REPLAY_KEYS = ("replay", "replay_mask", "replay_friends")  # and of what is replayed


@struct.dataclass(kw_only=True)
class Played:
    """Fresh episodes of a batch, and what they were played with."""

    episodes: Episodes
    context: Context  # the people and the catalogue, as the parameters see them
    interests: jax.Array | None  # [B, T, H] before each choice; None: to be unrolled


@jax.named_scope("act")
def play(
    policy: Policy, plan: Plan, state, acting: Acting, world, keys, epsilon
) -> Played:
    """Fresh episodes of random training users, played with `acting`.

    state: a `LearnerState`. keys: those of the streams `KEYS`.

    A gradient goes through the context, and through the encoder's steps where they are
    recorded: where unrolling the encoder once more would take the same steps. Tables
    that are trained would get a gradient of their own size at each of them.
    """
    users = draw_users(state, plan.act_batch, keys["users"])
    masked = draw_masked(state, users, keys["mask"])
    exploration = Exploration(
        epsilon=epsilon, cumulative_weights=state.shared.exploration_weights
    )
    context = policy_context(
        policy,
        acting,
        masked,
        keys["friends"],
        sharding.num_item_shards(world.mesh),
    )
    records = policy.network.encoder in STEPWISE and state.shared.tables is not None
    behaviour = _encoder_alone(acting) if records else jax.lax.stop_gradient(acting)

    def record(memory: Memory) -> jax.Array | None:
        return acted_interest(policy, behaviour, memory.carry) if records else None

    episodes, interests = recorded_rollout(
        record,
        greedy_policy(policy, "behaviour"),
        behaviour,
        jax.lax.stop_gradient(context),
        world,
        users,
        keys["act"],
        exploration=exploration,
    )
    return Played(episodes=episodes, context=context, interests=interests)


def _encoder_alone(acting: Acting) -> Acting:
    """The same, with a gradient of the interest encoder's parameters alone."""
    network = acting.params["network"]
    constant = jax.lax.stop_gradient(acting)
    kept = constant.params["network"] | {"interests": network["interests"]}
    return constant.replace(params=constant.params | {"network": kept})


def draw_masked(state, users, key):
    """Users whose feedback counts as unknown: [U] bool, the batch's own included."""
    key_share, key_who = jax.random.split(key)
    share = jax.random.uniform(
        key_share,
        minval=state.settings.mask_least,
        maxval=state.settings.mask_most,
    )
    masked = jax.random.uniform(key_who, state.shared.visible.shape) < share
    return masked.at[users].set(True)


def draw_users(state, count: int, key):
    """Training users [count], with replacement."""
    train_users = state.shared.train_users
    return train_users[jax.random.randint(key, (count,), 0, train_users.shape[0])]
