"""Hyperparameters of a deep agent: traced ones, and static ones."""

import jax
from flax import struct


@struct.dataclass(kw_only=True)
class Settings:
    """Traced hyperparameters: a sweep can vmap over them."""

    gamma: jax.Array
    learning_rate: jax.Array  # of Q-learning, its peak
    pretrain_learning_rate: jax.Array
    epsilon_first: jax.Array  # exploration of Q-learning, falling linearly
    epsilon_last: jax.Array
    pretrain_epsilon: jax.Array
    mask_least: (
        jax.Array
    )  # of the share of other users who are masked, drawn per update
    mask_most: jax.Array
    target_step: jax.Array  # tau: the target moves this far to the network an update
    average_step: jax.Array  # the same for the parameters that act in evaluation
    supervised_weight: jax.Array  # of the supervised loss in Q-learning
    contrastive_weight: jax.Array  # of DEERS' comparison with the opposite answer


@struct.dataclass(kw_only=True)
class Plan:
    """Static hyperparameters: each is a shape, a length or a choice."""

    act_batch: int = struct.field(pytree_node=False)  # episodes played per update
    batch_size: int = struct.field(pytree_node=False)  # episodes trained on per update
    replay_capacity: int = struct.field(pytree_node=False)
    warmup: float = struct.field(pytree_node=False)  # share of a phase
    pretrain_loss: str = struct.field(pytree_node=False)  # "squared" or "cross_entropy"
    # Steps of an episode that the cross entropy is taken at.
    pretrain_steps: int = struct.field(pytree_node=False)
    horizon: int = struct.field(pytree_node=False)  # T
