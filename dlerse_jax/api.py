"""What a Python user calls: make an agent, train it, judge it, without run folders.

The names are exported by `dlerse_jax` itself. Defaults are those of `base_config()`.
"""

import dataclasses
import difflib

import jax
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax.agents.registry import CLASSICAL, OFFLINE, RANK
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.experiment.build import build_agent
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.types import Agent, Dataset, Evaluation

CHUNK = 20  # updates a compiled program; schedules do not depend on it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """An agent and its states, one a seed; `history` has the mean metrics by chunk."""

    agent: Agent
    states: object
    roots: jax.Array  # [S] keys
    history: tuple[dict[str, np.ndarray], ...]  # each metric [S]


READ_BY_RANK = ("rank.", "plus.", "network.", "episode.", "reward.")  # in building.py


def make_agent(name: str, dataset: Dataset, **overrides) -> Agent:
    """An agent by its name in `agents/registry.py`.

    overrides are config keys by their last word (`hops=3`), or in full where that word
    has two owners (`**{"q_learning.learning_rate": 1e-4}`). ValueError names the
    nearest key for one that does not exist.
    """
    config = base_config()
    for key, value in overrides.items():
        config.update_from_flattened_dict({_full_key(config, name, key): value})
    return build_agent(config, dataset, name)


def _full_key(config: ConfigDict, agent_name: str, key: str) -> str:
    keys = [key for key, _ in flat_items(config.to_dict())]
    rooms = ("baseline.", "offline.")  # a section an agent
    own = tuple(f"{room}{agent_name}." for room in rooms)
    if agent_name in CLASSICAL or agent_name in OFFLINE:
        keys = [k for k in keys if k.startswith(own)]
    elif agent_name == RANK:
        keys = [k for k in keys if k.startswith(READ_BY_RANK)]
    else:
        keys = [k for k in keys if not k.startswith((*rooms, "rank."))]
    found = [k for k in keys if k == key or k.rpartition(".")[2] == key]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{key} could be {' or '.join(found)}: give it in full")
    words = [k.rpartition(".")[2] for k in keys]
    near = difflib.get_close_matches(key, words, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"{agent_name} has no setting {key!r}{hint}")


def train(
    agent: Agent,
    world: Simulator,
    *,
    seeds: jax.Array,
    num_updates: int,
    pretrain_updates: int | None = None,
) -> Trained:
    """Trains every seed of seeds [S] side by side, in one program a phase.

    First num_fits supervised updates (None: as in the default config), then
    num_updates of Q-learning. An agent that does not learn comes back as it is.
    ValueError where the agent was made for another horizon than the world's.
    """
    if agent.horizon not in (None, world.horizon):
        raise ValueError(
            f"{agent.name} was made for episodes of {agent.horizon} steps, the world "
            f"has {world.horizon}; give make_agent horizon={world.horizon}"
        )
    pretrain_updates = (
        base_config().pretrain.num_updates
        if pretrain_updates is None
        else pretrain_updates
    )
    roots = seed_keys(seeds)
    states, history = init_states(agent, roots), []
    for phase, total in (("pretrain", pretrain_updates), ("q_learning", num_updates)):
        chunks = {}  # two programs at most: whole chunks, and what is left at the end
        for first in range(0, total if getattr(agent, phase) else 0, CHUNK):
            size = min(CHUNK, total - first)
            chunks.setdefault(size, train_chunk(agent, phase, size))
            states, measured = chunks[size](states, world, roots, first, total)
            history.append(jax.device_get(measured))
    return Trained(agent=agent, states=states, roots=roots, history=tuple(history))


def evaluate(trained: Trained, world: Simulator, users: np.ndarray) -> Evaluation:
    """Greedy episodes of users [B]: one row a user and seed, feedback [S, B, T].

    `summarize` and `user_metrics` turn it into numbers with intervals.
    """
    return evaluate_users(
        greedy_rollout(trained.agent),
        trained.states,
        world,
        users,
        trained.roots,
        agent_name=trained.agent.name,
    )
