"""Every agent by name: what a config, a sweep or a user may ask for.

A classical agent, a policy without learning, is made from a data set and keywords of
its own; so is an offline one, which is then trained on logged likes. A deep agent is a
preset over `deep_agent`: the words in which it differs from DLERSE-con. `inputs_read`
says what each reads, and `name_bar` which policy without learning the others are
measured against.
"""

from collections.abc import Callable, Mapping
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
from dlerse_jax.defaults import base_config
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

# The paper's related work: trained on logged likes, without Q-learning.
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

# The settings in which each differs from the config; what the config names wins.
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

RANK = "dlerse_rank"  # two stages: see `two_stage/`

AGENTS = (*CLASSICAL, *OFFLINE, *DEEP, RANK)

# Beside deep agents, which read friends unless their config says otherwise.
READ_FRIENDS: tuple[str, ...] = (
    "friends",
    "mf_friends",
    "ease_friends",
    "linear",
    "linear_plus",
)
READ_FRIENDS += ("lightgcn_social", "graphrec")

# Those with a vector per item that features can give an item without likes.
SERVE_COLD_ITEMS: tuple[str, ...] = (
    *("mf_static", "mf_mean", "mf_friends", "linucb", "lints"),
    *("ease_popularity", "ease_friends", "linear", "linear_plus"),
    *(*DEEP, RANK),
)


def inputs_read(
    agent_name: str, settings: Mapping[str, object] | None = None
) -> tuple[str, ...]:
    """What an agent reads of training users: some of likes, friends, tags, counts.

    settings: flat keys of a run's config, as "baseline.linear.tag_weight"; what is not
    there has its default. Counts are of listening, or ratings; a data set that lacks
    tags or counts gives none to read. ValueError for a name that no agent has.
    """
    if agent_name not in AGENTS:
        raise ValueError(f"no agent {agent_name!r}; there are {', '.join(AGENTS)}")
    section = _side_section(agent_name)
    found = {
        "likes": agent_name != "random",
        "friends": _reads_friends(agent_name, settings or {}),
        "tags": bool(_setting(settings, f"{section}.tag_weight")),
        "counts": bool(_setting(settings, f"{section}.rank_weight")),
    }
    return tuple(name for name, is_read in found.items() if is_read)


def _side_section(agent_name: str) -> str:
    """Section of the config with an agent's weights of tags and counts."""
    is_plus = agent_name == RANK or DEEP.get(agent_name, {}).get("plus")
    return "plus" if is_plus else f"baseline.{agent_name}"


def _reads_friends(agent_name: str, settings: Mapping[str, object]) -> bool:
    if agent_name not in DEEP:
        return agent_name in (*READ_FRIENDS, RANK)
    preset = DEEP[agent_name]
    fusion = _setting(settings, "network.fusion") or preset["fusion"]
    hops = preset.get("hops", _setting(settings, "network.hops"))
    return bool(preset.get("plus")) or (fusion != "none" and hops > 0)


def _setting(settings: Mapping[str, object] | None, key: str):
    """A key's value in flat settings, else its default; None where no config has it."""
    if settings and key in settings:
        return settings[key]
    value = base_config()
    for word in key.split("."):
        value = value.get(word, {})
    return value or None


def name_bar(validation: Mapping[str, float | None]) -> str | None:
    """The bar: the best policy without learning, chosen on validation users.

    validation: agent -> mean precision of validation users, agents that learn among
    them or not. Of equals the first by name here; None where there is no such policy.
    """
    known = {
        name: validation[name] for name in CLASSICAL if validation.get(name) is not None
    }
    return max(known, key=known.get, default=None)
