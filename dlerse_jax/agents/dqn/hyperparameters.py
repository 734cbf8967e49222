"""Numbers of a deep agent's learning: those that are traced, and those that are not."""

import jax
from flax import struct


@struct.dataclass(kw_only=True)
class Settings:
    """Numbers of learning that are traced, so that a sweep can vmap over them."""

    gamma: jax.Array
    learning_rate: jax.Array  # of `learn`
    pretrain_learning_rate: jax.Array
    epsilon_first: jax.Array  # exploration of `learn`, falling linearly
    epsilon_last: jax.Array
    pretrain_epsilon: jax.Array
    mask_least: jax.Array  # share of other users treated as cold, drawn each update
    mask_most: jax.Array
    target_step: jax.Array  # tau: the target moves this far to the network an update
    average_step: jax.Array  # the same for the parameters that act in evaluation
    supervised_weight: (
        jax.Array
    )  # weight of the supervised fit beside the temporal difference
    contrastive_weight: (
        jax.Array
    )  # weight of DEERS' comparison with the opposite answer


@struct.dataclass(kw_only=True)
class Plan:
    """Counts of learning. Static: each is a shape, or a length."""

    act_batch: int = struct.field(pytree_node=False)  # episodes played an update
    batch_size: int = struct.field(pytree_node=False)  # episodes trained on an update
    replay_capacity: int = struct.field(pytree_node=False)
    warmup: float = struct.field(pytree_node=False)  # share of a phase
    pretrain_loss: str = struct.field(pytree_node=False)  # "squared" or "cross_entropy"
    pretrain_steps: int = struct.field(
        pytree_node=False
    )  # steps an episode, cross entropy
    horizon: int = struct.field(pytree_node=False)  # T
