"""Builds a deep agent from a data set: factors -> tables -> network -> learner.

In goes a `Dataset` and every choice by name; out comes an `Agent`. The variants of
DLERSE and its relatives differ in the keywords that `runner.py` reads from a config.
"""

import jax.numpy as jnp
import numpy as np

from dlerse_jax.agents.dqn import Plan, Settings, make_dqn
from dlerse_jax.agents.q_policy import Shared
from dlerse_jax.factors import ItemFactors, ease_factors, svd_factors, visible_likes
from dlerse_jax.graph import friend_graph, friend_lists
from dlerse_jax.learning.optimizer import make_optimizer
from dlerse_jax.networks.encoders import ENCODERS
from dlerse_jax.networks.fusion import FUSIONS, TWO_HEADED
from dlerse_jax.networks.q_network import QNetwork, Tables
from dlerse_jax.types import Agent, Dataset

FACTORS = ("ease", "svd", "random")
LARGEST_WEIGHT = 2**30  # of all items together: leaves room for one more an item
FIT_LOSSES = ("squared", "cross_entropy")


def deep_agent(
    name: str,
    dataset: Dataset,
    *,
    miss_reward: float,
    factors: str,
    factor_regularisation: float,
    train_tables: bool,
    width: int,
    hidden: int,
    hops: int,
    fan_out: int,
    heads: int,
    fusion: str,
    encoder: str,
    dropout: float,
    memory_gain: float,
    dislike_weight: float,
    clip_norm: float,
    weight_decay: float,
    exploration: str,
    settings: dict[str, float],
    plan: Plan,
) -> Agent:
    """DLERSE and its relatives, on the feedback of training users alone.

    memory_gain is in the units of EASE: 3 means three times the EASE score. Raises
    ValueError, before any compile, where a choice is unknown or out of range.
    """
    likes = visible_likes(dataset)
    count = np.bincount(likes.indices, minlength=dataset.num_items)
    popularity = count / len(dataset.split.train)
    weights = _exploration_weights(count, exploration)
    span = 1.0 - miss_reward
    network = QNetwork(
        width=width,
        hidden=hidden,
        hops=hops,
        heads=heads,
        fusion=fusion,
        encoder=encoder,
        horizon=plan.horizon,
        dropout=dropout,
        initial_value=float(miss_reward + span * popularity.mean()),
        memory_gain=memory_gain,
    )
    _check(network, factors, fan_out, plan)
    item_factors = _item_factors(likes, factors, width, factor_regularisation)
    tables, scale = _tables(likes, item_factors, span * popularity)
    network = network.clone(memory_gain=float(memory_gain * scale * span))
    return make_dqn(
        name,
        network=network,
        tables=tables,
        shared=_shared(dataset, likes, tables, train_tables, weights, fan_out),
        optimizer=make_optimizer(clip_norm=clip_norm, weight_decay=weight_decay),
        settings=Settings(**{key: jnp.float32(x) for key, x in settings.items()}),
        plan=plan,
        dislike_weight=dislike_weight,
    )


def _check(network: QNetwork, factors: str, fan_out: int, plan: Plan) -> None:
    choices = {
        "network.fusion": (network.fusion, FUSIONS + TWO_HEADED),
        "network.encoder": (network.encoder, tuple(ENCODERS)),
        "network.factors": (factors, FACTORS),
        "fit.loss": (plan.fit_loss, FIT_LOSSES),
    }
    for key, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r}")
    if network.hops < 0:
        raise ValueError(f"network.hops must be 0 or more, got {network.hops}")
    if fan_out < 0:
        raise ValueError(
            f"network.fan_out must be 0 (all friends) or more, got {fan_out}"
        )
    if network.heads < 1 or network.width % network.heads:
        raise ValueError(
            "network.heads must divide network.width, "
            f"got {network.heads} and {network.width}"
        )
    if network.fusion in ("add", "gate") and network.width != network.hidden:
        raise ValueError(
            f"fusion {network.fusion!r} adds h and k, so network.hidden must equal "
            f"network.width, got {network.hidden} and {network.width}"
        )
    if plan.replay_capacity < plan.act_batch:
        raise ValueError(
            f"learn.replay_capacity is {plan.replay_capacity}, below learn.act_batch "
            f"({plan.act_batch}): one update would not fit"
        )


def _item_factors(likes, kind: str, width: int, regularisation: float) -> ItemFactors:
    """Vectors of `width`, whichever way; a rank the data lack is filled with zeros."""
    if kind == "ease":
        found = ease_factors(likes, rank=width, regularisation=regularisation)
    elif kind == "svd":
        items = svd_factors(likes, rank=width).items
        found = ItemFactors(item_in=items, item_out=items)
    else:
        rng = np.random.default_rng(0)
        items = rng.normal(size=(likes.shape[1], width)).astype(np.float32)
        found = ItemFactors(item_in=items, item_out=items)
    missing = ((0, 0), (0, width - found.item_in.shape[1]))
    return ItemFactors(
        item_in=np.pad(found.item_in, missing), item_out=np.pad(found.item_out, missing)
    )


def _tables(likes, factors: ItemFactors, item_bias):
    """Embeddings of unit mean square, and what an inner product lost by that.

    A user's feature is the sum of the vectors of what they like, over the square root
    of how many: zero for a user without visible feedback.
    """
    in_size, out_size = (
        max(float(np.sqrt(np.mean(table**2))), 1e-12)
        for table in (factors.item_in, factors.item_out)
    )
    item_in = factors.item_in / in_size
    counts = likes.getnnz(axis=1)
    users = (likes @ item_in) / np.sqrt(np.maximum(counts, 1))[:, None]
    tables = Tables(
        item_in=jnp.asarray(item_in, jnp.float32),
        item_out=jnp.asarray(factors.item_out / out_size, jnp.float32),
        item_bias=jnp.asarray(item_bias, jnp.float32),
        user=jnp.asarray(users, jnp.float32),
    )
    return tables, in_size * out_size


def _shared(dataset, likes, tables, train_tables, weights, fan_out) -> Shared:
    graph = friend_lists(dataset, fan_out) if fan_out else friend_graph(dataset)
    return Shared(
        tables=None if train_tables else tables,
        graph=graph,
        visible=jnp.asarray(likes.getnnz(axis=1) > 0),
        train_users=jnp.asarray(dataset.split.train),
        exploration_weights=weights,
    )


def _exploration_weights(count: np.ndarray, kind: str):
    """Whole, positive, cumulative weights of a random item: [N] int32."""
    if kind not in ("uniform", "popularity"):
        raise ValueError(
            f"learn.exploration must be 'uniform' or 'popularity', got {kind!r}"
        )
    weights = np.ones_like(count) if kind == "uniform" else np.maximum(count, 1)
    shrink = weights.sum() // LARGEST_WEIGHT + 1  # 1 but for billions of likes
    weights = np.maximum(weights // shrink, 1)
    return jnp.asarray(np.cumsum(weights), jnp.int32)
