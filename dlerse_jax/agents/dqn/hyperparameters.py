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
    mask_least: jax.Array  # smallest share of other users who are masked
    mask_most: jax.Array  # largest; each update draws one
    target_step: jax.Array  # tau of the target network's running average, per update
    average_step: jax.Array  # the same for the parameters that are evaluated
    supervised_weight: jax.Array  # of the supervised loss, per like, in Q-learning
    contrastive_weight: jax.Array  # of DEERS' contrastive loss


@struct.dataclass(kw_only=True)
class Plan:
    """Static hyperparameters: each is a shape, a length or a choice."""

    act_batch: int = struct.field(pytree_node=False)  # episodes played per update
    batch_size: int = struct.field(pytree_node=False)  # episodes trained on per update
    replay_capacity: int = struct.field(pytree_node=False)
    warmup: float = struct.field(pytree_node=False)  # share of a phase
    pretrain_loss: str = struct.field(pytree_node=False)  # "squared" or "cross_entropy"
    # Steps of an episode at which the cross entropy is evaluated.
    pretrain_steps: int = struct.field(pytree_node=False)
    horizon: int = struct.field(pytree_node=False)  # T
