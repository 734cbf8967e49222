"""What GRU4Rec and SASRec share: a causal encoder over a session of likes.

The memory of such an agent is the encoder's carry. The papers' sessions are clicks in
the order of time. The data sets here carry no order, so every minibatch draws each
user's likes in a new random order; in the loop the order is that of the answers. Clicks
are all that the input knows: a dislike leaves the state as it is.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from dlerse_jax.agents.offline.base import (
    OfflineState,
    Training,
    no_context,
    offline_agent,
    on_likes,
)
from dlerse_jax.agents.offline.sampling import draw_sessions, training_feedback
from dlerse_jax.networks.encoders import make_encoder
from dlerse_jax.types import Agent, Dataset


class SessionNetwork(nn.Module):
    """An item table and an encoder of `networks/encoders.py` over its rows."""

    num_items: int
    width: int
    encoder: str
    length: int  # likes of a session in training
    dropout: float  # of the rows that go in and of the states that come out

    def setup(self):
        self.items = self.param(
            "items",
            nn.initializers.normal(self.width**-0.5),
            (self.num_items, self.width),
        )
        self.session = make_encoder(
            self.encoder, hidden=self.width, horizon=self.length
        )
        self.drop = nn.Dropout(self.dropout)

    def start(self):
        return self.session.start()

    def step(self, carry, item: jax.Array):
        return self.session.step(carry, self.items[item])

    def interest(self, carry) -> jax.Array:
        return self.session.interest(carry)

    def states_before(self, session: jax.Array, train: bool) -> jax.Array:
        """session [L], padded with N -> the state ahead of each item, [L, D]."""
        rows = self.items[jnp.minimum(session, self.num_items - 1)]
        rows = self.drop(rows, deterministic=not train)
        states = self.session.unroll(rows)[:-1]
        return self.drop(states, deterministic=not train)


def session_agent(
    name: str,
    dataset: Dataset,
    *,
    network: SessionNetwork,
    init_output: Callable[[jax.Array], dict],
    output: Callable,
    loss: Callable,
    training: Training,
) -> Agent:
    """An agent that scores items by a linear layer on the state of the session.

    init_output(key) -> params beside "network"
    output(params, items) -> rows [A, D] and biases [A] of items, or of all N for None
    loss(params, feedback, states [B, L, D], (users [B], sessions [B, L]), key) -> []
    """
    _check(network)
    apply = functools.partial(_apply, network)

    def init_params(key):
        key_network, key_output = jax.random.split(key)
        session = jnp.zeros(network.length, jnp.int32)
        variables = network.init(key_network, session, False, method="states_before")
        return {"network": variables["params"], **init_output(key_output)}

    def scores(state: OfflineState, context, memory, items):
        rows, biases = output(state.params, items)
        return apply(state.params, memory, method="interest") @ rows.T + biases

    return offline_agent(
        name,
        training=training,
        shared=training_feedback(dataset),
        init_params=init_params,
        draw=functools.partial(draw_sessions, network.length),
        loss=functools.partial(_loss, network, loss),
        context=no_context,
        begin=lambda state, *_: apply(state.params, method="start"),
        observe=on_likes(
            lambda state, carry, item: apply(state.params, carry, item, method="step")
        ),
        scores=scores,
    )


def _check(network: SessionNetwork) -> None:
    if not 0 <= network.dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {network.dropout}")
    if network.length < 1:
        raise ValueError(f"session_length must be 1 or more, got {network.length}")


def _apply(network: SessionNetwork, params: dict, *inputs, method: str, **more):
    return network.apply({"params": params["network"]}, *inputs, method=method, **more)


def _loss(network: SessionNetwork, loss, params, feedback, minibatch, key, progress):
    """The method's own loss on the states of a minibatch, with dropout."""
    del progress
    key_dropout, key_loss = jax.random.split(key)
    _, sessions = minibatch

    def encode(session, key):
        rngs = {"dropout": key}
        return _apply(network, params, session, True, method="states_before", rngs=rngs)

    keys = jax.random.split(key_dropout, sessions.shape[0])
    states = jax.vmap(encode)(sessions, keys)  # adds B
    return loss(params, feedback, states, minibatch, key_loss)
