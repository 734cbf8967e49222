"""GRU4Rec: a GRU over the likes of a session, trained to rank the next one first.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent
Neural Networks", ICLR 2016, with the loss and the further negatives of Hidasi and
Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based
Recommendations", CIKM 2018: BPR-max against the next items of the other sessions of
the minibatch, which are popular ones, and against items drawn uniformly. Without the
latter the scores would say by how much a session beats popularity, and an empty one
would have no ranking.

A session's likes come in random order (`sequential.py`), all of them fit a minibatch,
so sessions need not be run in parallel as the papers do. A user without likes gets the
biases, for the first state is zero. Scores of a minibatch are [B, L, B + negatives].
"""

import functools

import jax
import jax.numpy as jnp

from dlerse_jax.agents.offline.base import Training
from dlerse_jax.agents.offline.sampling import Feedback
from dlerse_jax.agents.offline.sequential import SessionNetwork, session_agent
from dlerse_jax.types import Agent, Dataset


def gru4rec(
    dataset: Dataset,
    *,
    width: int,
    dropout: float,
    session_length: int,
    num_unliked: int,
    score_penalty: float,
    **training,
) -> Agent:
    """num_unliked: items drawn uniformly per minibatch, beside those of other sessions.

    score_penalty: weight of the squared scores of the negatives. training: the keywords
    of `offline.Training`; an example is a user's session.
    """
    if num_unliked < 1:
        raise ValueError(f"num_unliked must be 1 or more, got {num_unliked}")
    shape = (dataset.num_items, width)

    def init_output(key):
        rows = width**-0.5 * jax.random.normal(key, shape)
        return {"item_out": rows, "item_bias": jnp.zeros(dataset.num_items)}

    return session_agent(
        "gru4rec",
        dataset,
        network=SessionNetwork(
            num_items=dataset.num_items,
            width=width,
            encoder="gru",
            length=session_length,
            dropout=dropout,
        ),
        init_output=init_output,
        output=_output,
        loss=functools.partial(_loss, num_unliked, score_penalty),
        training=Training(**training),
    )


def _output(params: dict, items):
    rows, biases = params["item_out"], params["item_bias"]
    return (rows, biases) if items is None else (rows[items], biases[items])


def _loss(num_drawn, penalty, params, feedback: Feedback, states, minibatch, key):
    """BPR-max of every next item, its mean over the real steps of B sessions."""
    _, sessions = minibatch
    last = feedback.num_items - 1
    drawn = jax.random.randint(key, (num_drawn,), 0, feedback.num_items)

    def step(states, items):
        """Losses [B] of one step of all sessions: states [B, D], items [B]."""
        negatives = jnp.concatenate([items, drawn])
        rows, biases = _output(params, jnp.minimum(negatives, last))
        scores = states @ rows.T + biases[None]
        is_negative = negatives[None] != items[:, None]
        is_negative &= negatives[None] <= last
        return bpr_max(jnp.diagonal(scores), scores, is_negative, penalty)

    losses = jax.vmap(step, in_axes=1, out_axes=1)(states, sessions)  # adds L
    is_real = sessions <= last
    return jnp.sum(jnp.where(is_real, losses, 0.0)) / jnp.maximum(is_real.sum(), 1)


def bpr_max(right, wrong, is_negative, penalty) -> jax.Array:
    """-log sum_j s_j sigmoid(r_i - r_j) + penalty * sum_j s_j r_j^2, s = softmax(r_j).

    right [..], wrong and is_negative [.., M] -> [..]. Where nothing is a negative the
    loss is zero.
    """
    has_any = is_negative.any(axis=-1)
    wrong = jnp.where(is_negative, wrong, 0.0)
    weights = jax.nn.softmax(wrong, axis=-1, where=is_negative)
    weights = jnp.where(has_any[..., None], weights, 1.0)  # no log of zero below
    log_chances = jax.nn.log_sigmoid(right[..., None] - wrong)
    # log sum_j s_j sigmoid(.), without leaving the logarithm
    ranked = jax.nn.logsumexp(log_chances, axis=-1, b=weights)
    size = jnp.sum(weights * wrong**2, axis=-1)
    return jnp.where(has_any, penalty * size - ranked, 0.0)
