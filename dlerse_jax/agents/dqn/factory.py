"""Builds a deep agent from a data set: factors -> tables -> network -> learner.

The variants of DLERSE and its relatives differ in keywords of `deep_agent` alone.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from dlerse_jax.agents.dqn.acting import Policy, Shared
from dlerse_jax.agents.dqn.initialization import FACTORS, Plus, Start, make_start
from dlerse_jax.agents.dqn.learner import Plan, Settings, make_dqn
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.graph.attention_graph import friend_graph
from dlerse_jax.graph.friends import friend_lists, friend_table
from dlerse_jax.networks.encoders import ENCODERS
from dlerse_jax.networks.fusion import FUSIONS, TWO_HEADED
from dlerse_jax.networks.q_network import QNetwork
from dlerse_jax.retrieval.index import longest_first
from dlerse_jax.types import Agent, Dataset

LARGEST_WEIGHT = 2**30  # of all items together: leaves room for one more per item
PRETRAIN_LOSSES = ("squared", "cross_entropy")


def deep_agent(
    name: str,
    dataset: Dataset,
    *,
    miss_reward: float,
    factors: str,
    factor_regularisation: float,
    train_tables: bool,
    fan_out: int,
    session_gain: float,
    dislike_weight: float,
    block: int,
    plus: Plus | None,
    exploration: str,
    optimizer: optax.GradientTransformation,
    settings: dict[str, float],
    plan: Plan,
    **network: Any,
) -> Agent:
    """DLERSE and its relatives, on the feedback of training users alone.

    session_gain: 3 means three times the EASE score. plus None: no copy head. network:
    fields of `QNetwork` (width, hidden, hops, heads, fusion, encoder, dropout, ...).
    ValueError, before any compile, where a choice is unknown or out of range.
    """
    _check(network, factors, plan)
    _check_fan_out(fan_out, plus)
    likes = visible_likes(dataset)
    start = make_start(
        likes,
        dataset,
        factors=factors,
        width=network["width"],
        regularisation=factor_regularisation,
        session_gain=session_gain,
        miss_reward=miss_reward,
        plus=plus,
    )
    agent = make_dqn(
        name,
        policy=Policy(
            network=QNetwork(
                horizon=plan.horizon,
                initial_value=start.value,
                remembers=start.remembers,
                copies=start.neighbourhoods is not None,
                ridge_rank=plus.ridge_rank if plus else 0,
                **network,
            ),
            dislike_weight=dislike_weight,
            block=block,
        ),
        tables=start.tables,
        shared=_shared(dataset, likes, start, exploration, fan_out, train_tables),
        optimizer=optimizer,
        settings=Settings(**{key: jnp.float32(x) for key, x in settings.items()}),
        plan=plan,
    )
    far = plus.far_hops if plus else 2, None
    return dataclasses.replace(agent, miss_reward=miss_reward, far=far)


def _check(network: dict, factors: str, plan: Plan) -> None:
    width, hidden, heads = (network[key] for key in ("width", "hidden", "heads"))
    choices = {
        "network.fusion": (network["fusion"], FUSIONS + TWO_HEADED),
        "network.encoder": (network["encoder"], tuple(ENCODERS)),
        "network.factors": (factors, FACTORS),
        "pretrain.loss": (plan.pretrain_loss, PRETRAIN_LOSSES),
    }
    for key, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r}")
    if network["hops"] < 0:
        raise ValueError(f"network.hops must be 0 or more, got {network['hops']}")
    if heads < 1 or width % heads:
        raise ValueError(
            f"network.heads must divide network.width, got {heads} and {width}"
        )
    if network["fusion"] in ("add", "gate") and width != hidden:
        raise ValueError(
            f"fusion {network['fusion']!r} adds h and k, so network.hidden must equal "
            f"network.width, got {hidden} and {width}"
        )
    is_sampled = plan.pretrain_loss == "cross_entropy"
    if is_sampled and not 1 <= plan.pretrain_steps <= plan.horizon:
        raise ValueError(
            f"pretrain.steps is {plan.pretrain_steps}, expected 1 to {plan.horizon}, "
            "the steps of an episode (episode.horizon)"
        )
    if plan.replay_capacity < plan.act_batch:
        raise ValueError(
            f"q_learning.replay_capacity is {plan.replay_capacity}, below "
            f"q_learning.act_batch "
            f"({plan.act_batch}): one update would not fit"
        )


def _check_fan_out(fan_out: int, plus: Plus | None) -> None:
    if fan_out < 0:
        raise ValueError(
            f"network.fan_out must be 0 (all friends) or more, got {fan_out}"
        )
    if plus and fan_out:
        raise ValueError(
            "a copy head reads every friend, so network.fan_out must be 0, got "
            f"{fan_out}; for a sample of friends set agent.name to dlerse_con"
        )


def _shared(
    dataset: Dataset,
    likes,
    start: Start,
    exploration: str,
    fan_out: int,
    train_tables: bool,
) -> Shared:
    friends = friend_table(dataset)
    graph = friend_lists(friends, fan_out) if fan_out else friend_graph(friends)
    count = np.bincount(likes.indices, minlength=dataset.num_items)
    item_out = np.asarray(start.tables.item_out)
    return Shared(
        tables=None if train_tables else start.tables,
        order=None if train_tables else jnp.asarray(longest_first(item_out)),
        graph=graph,
        visible=jnp.asarray(likes.getnnz(axis=1) > 0),
        train_users=jnp.asarray(dataset.split.train),
        exploration_weights=_exploration_weights(count, exploration),
        liked_share=jnp.float32(start.liked_share),
        neighbourhoods=start.neighbourhoods,
        session_gain=jnp.float32(start.session_gain),
        posterior=start.posterior,
    )


def _exploration_weights(count: np.ndarray, kind: str):
    """Whole, positive, cumulative weights of a random item: [N] int32."""
    if kind not in ("uniform", "popularity"):
        raise ValueError(
            f"q_learning.exploration must be 'uniform' or 'popularity', got {kind!r}"
        )
    weights = np.ones_like(count) if kind == "uniform" else np.maximum(count, 1)
    shrink = weights.sum() // LARGEST_WEIGHT + 1  # 1 but for billions of likes
    weights = np.maximum(weights // shrink, 1)
    return jnp.asarray(np.cumsum(weights), jnp.int32)
