"""The scaffold of policies that are trained offline, on logged likes alone.

They are the paper's related work: recommenders that rank, and that know nothing of
rewards or episodes. `offline_agent` makes an `Agent` of a method's parameters, loss and
policy, all pure functions; `pretrain` is a few minibatches of the method's own training
examples, and `q_learning` is None. The environment is never read. Factories are listed
in `registry.OFFLINE`; what they share to be trained is `Training`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.types import Agent

WARMUP = 0.05  # share of the phase over which the learning rate rises


@struct.dataclass(kw_only=True)
class OfflineState:
    """Everything a resumed run needs besides its seed."""

    shared: Any  # arrays that every seed reads and none changes: one copy, whatever S
    params: Any
    optimizer: optax.OptState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a policy is trained. All static: another value is another compilation."""

    learning_rate: float  # after the warm-up; falls along a cosine
    weight_decay: float  # of AdamW, on everything with two axes or more
    batches: int  # minibatches per update
    batch_size: int  # examples per minibatch

    def __post_init__(self):
        for name in ("learning_rate", "batches", "batch_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ValueError(
                f"weight_decay must not be negative, got {self.weight_decay}"
            )


def offline_agent(
    name: str,
    *,
    training: Training,
    shared: Any,
    init_params: Callable[[jax.Array], Any],
    draw: Callable[[Any, jax.Array, int], Any],
    loss: Callable[[Any, Any, Any, jax.Array, jax.Array], jax.Array],
    context: Callable,
    begin: Callable,
    observe: Callable,
    scores: Callable,
) -> Agent:
    """An agent that learns from minibatches of logged likes.

    init_params(key) -> params
    draw(shared, key, batch_size) -> minibatch
        Examples of training users; `sampling.py` has the samplers.
    loss(params, shared, minibatch, key, progress) -> [] float32
        progress [] in [0, 1): the share of the phase that is done, for annealing.
    context, begin, observe, scores: as `types.Agent` has them, on an `OfflineState`.
    """
    optimizer = make_adamw(training.weight_decay)

    def init(key):
        params = jax.jit(init_params)(key)
        return OfflineState(
            shared=shared, params=params, optimizer=optimizer.init(params)
        )

    return Agent(
        name=name,
        init=init,
        context=context,
        begin=begin,
        observe=observe,
        scores=scores,
        seed_axes=OfflineState(shared=None, params=0, optimizer=0),
        served="params",
        pretrain=functools.partial(_pretrain, training, optimizer, draw, loss),
    )


def _pretrain(training: Training, optimizer, draw, loss, state, world, key, progress):
    """One update: a few minibatches, each with examples of its own."""
    del world
    rate = training.learning_rate * warmup_cosine(progress, WARMUP)

    def descend(carry, key):
        params, optimizer_state = carry
        key_draw, key_loss = jax.random.split(key)
        minibatch = draw(state.shared, key_draw, training.batch_size)
        value, gradients = jax.value_and_grad(loss)(
            params, state.shared, minibatch, key_loss, progress
        )
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        params = apply_scaled(params, updates, rate)
        measured = {"pretrain_loss": value, "gradient_norm": optax.tree.norm(gradients)}
        return (params, optimizer_state), measured

    keys = jax.random.split(key, training.batches)
    carry = (state.params, state.optimizer)
    (params, optimizer_state), measured = jax.lax.scan(descend, carry, keys)
    state = state.replace(params=params, optimizer=optimizer_state)
    return state, jax.tree.map(lambda numbers: numbers.mean(), measured)


def make_adamw(weight_decay: float) -> optax.GradientTransformation:
    """AdamW without its learning rate; what has two axes or more decays."""

    def matrices(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=matrices),
    )


def keep_memory(state, context, memory, observation):
    """`observe` of a policy that answers do not change."""
    return memory


def no_context(state, masked):
    """`context` of a policy without user rows: it knows nobody but by their answers."""
    return ()


def on_likes(observe_like: Callable) -> Callable:
    """`observe` of a policy whose input is likes: a dislike leaves the memory as it is.

    observe_like(state, memory, item) -> memory
    """

    def observe(state, context, memory, seen):
        del context
        num_items = state.shared.num_items
        after = observe_like(state, memory, jnp.minimum(seen.item, num_items - 1))
        is_like = (seen.liked > 0) & (seen.item < num_items)
        return jax.tree.map(lambda x, y: jnp.where(is_like, x, y), after, memory)

    return observe
