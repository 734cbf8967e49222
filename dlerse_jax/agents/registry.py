"""Every agent by name: what a config, a sweep or a user may ask for.

A classical agent is made from a data set and keywords of its own; so is an offline one,
which is then trained on logged likes. A deep agent is a preset over `deep_agent`: the
words in which it differs from DLERSE-con.
"""

from collections.abc import Callable
from typing import Any

from dlerse_jax.agents.classical.bandits import (
    lints,
    linucb,
    mf_friends,
    mf_mean,
    mf_static,
)
from dlerse_jax.agents.classical.ease import ease_friends, ease_popularity, linear
from dlerse_jax.agents.classical.linear_plus import linear_plus
from dlerse_jax.agents.classical.popularity import (
    friends_items,
    popularity,
    random_items,
)
from dlerse_jax.agents.offline.autorec import autorec
from dlerse_jax.agents.offline.bpr import bpr
from dlerse_jax.agents.offline.din import din
from dlerse_jax.agents.offline.graphrec import graphrec
from dlerse_jax.agents.offline.gru4rec import gru4rec
from dlerse_jax.agents.offline.lightgcn import lightgcn, lightgcn_social
from dlerse_jax.agents.offline.multvae import multvae
from dlerse_jax.agents.offline.ncf import ncf
from dlerse_jax.agents.offline.sasrec import sasrec
from dlerse_jax.types import Agent

CLASSICAL: dict[str, Callable[..., Agent]] = {
    "random": random_items,
    "popularity": popularity,
    "friends": friends_items,
    "mf_static": mf_static,
    "mf_mean": mf_mean,
    "mf_friends": mf_friends,
    "linucb": linucb,
    "lints": lints,
    "ease_popularity": ease_popularity,
    "ease_friends": ease_friends,
    "linear": linear,
    "linear_plus": linear_plus,
}

# The paper's related work: `fit` on logged likes, no `learn`.
OFFLINE: dict[str, Callable[..., Agent]] = {
    "bpr": bpr,
    "ncf": ncf,
    "lightgcn": lightgcn,
    "lightgcn_social": lightgcn_social,
    "graphrec": graphrec,
    "gru4rec": gru4rec,
    "sasrec": sasrec,
    "autorec": autorec,
    "multvae": multvae,
    "din": din,
}

# What each is on top of the config, whose own word wins where it names one.
DEEP: dict[str, dict[str, Any]] = {
    "dlerse_con": {"fusion": "con", "encoder": "gru"},
    "dlerse_add": {"fusion": "add", "encoder": "gru"},
    "dlerse_plus": {"fusion": "con", "encoder": "gru", "plus": True},
    "dlerse_myopic": {"fusion": "con", "encoder": "gru", "gamma": 0.0},
    "dqn": {"fusion": "none", "encoder": "gru"},
    "deers": {"fusion": "none", "encoder": "dual_gru", "contrastive_weight": 0.1},
    "sadqn": {"fusion": "sum_heads", "encoder": "gru", "hops": 1},
    "sadqn_plus": {"fusion": "gate_heads", "encoder": "gru", "hops": 1},
}

RANK = "dlerse_rank"  # two stages: see `ranking.py`

AGENTS = (*CLASSICAL, *OFFLINE, *DEEP, RANK)
PRETRAIN_ONLY = (*OFFLINE, RANK)  # no `learn`
