"""SASRec: causal self-attention over the likes of a session.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018: two blocks of
one head with learned positions (`networks/transformer_encoder.py`, with layer norms
before each sublayer as in the paper), one item table for what goes in and what is
scored, binary cross-entropy of the next like against one item per step that the user
does not like.

A session's likes come in random order (`sequential.py`). The paper's sequences have at
least one item; here a learned token marks the start, so that a user without likes
has a state too. Where more likes come in than a session was trained on, the newest
take the place of the oldest. Memory of a user: the keys and values of the session.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.agents.offline.base import Training
from dlerse_jax.agents.offline.sampling import Feedback, draw_unliked
from dlerse_jax.agents.offline.sequential import SessionNetwork, session_agent
from dlerse_jax.types import Agent, Dataset


def sasrec(
    dataset: Dataset, *, width: int, dropout: float, session_length: int, **training
) -> Agent:
    """training: the keywords of `offline.Training`; an example is a user's session."""
    return session_agent(
        "sasrec",
        dataset,
        network=SessionNetwork(
            num_items=dataset.num_items,
            width=width,
            encoder="transformer",
            length=session_length,
            dropout=dropout,
        ),
        init_output=lambda key: {},
        output=_output,
        loss=_loss,
        training=Training(**training),
    )


def _output(params: dict, items):
    rows = params["network"]["items"]
    rows = rows if items is None else rows[items]
    return rows, jnp.zeros(rows.shape[0])


def _loss(params, feedback: Feedback, states, minibatch, key):
    """Cross-entropy of each next like and one other item, over the real steps."""
    users, sessions = minibatch
    is_real = sessions < feedback.num_items
    keys = jax.random.split(key, sessions.shape)
    draw = jax.vmap(draw_unliked, in_axes=(None, None, 0))  # adds L
    unliked = jax.vmap(draw, in_axes=(None, 0, 0))(feedback, users, keys)  # adds B
    rows = params["network"]["items"]
    right = jnp.sum(states * rows[jnp.minimum(sessions, len(rows) - 1)], axis=-1)
    wrong = jnp.sum(states * rows[unliked], axis=-1)
    losses = jax.nn.softplus(-right) + jax.nn.softplus(wrong)
    return jnp.sum(jnp.where(is_real, losses, 0.0)) / jnp.maximum(is_real.sum(), 1)
