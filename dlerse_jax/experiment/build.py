"""From a config to what it names: data set, task, environment and agent.

`build` reads each of its keys once; `runner` reads what is left of a run (seeds,
lengths, periods, tracking). Code outside `experiment/` gets keywords, never a config.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from dlerse_jax.agents.dqn.factory import deep_agent
from dlerse_jax.agents.dqn.hyperparameters import Plan
from dlerse_jax.agents.dqn.initialization import Plus
from dlerse_jax.agents.offline.base import Training
from dlerse_jax.agents.registry import AGENTS, CLASSICAL, DEEP, OFFLINE, RANK
from dlerse_jax.agents.two_stage.agent import rank_agent, rank_parts
from dlerse_jax.agents.two_stage.answer_learning import with_answers
from dlerse_jax.agents.two_stage.order import OrderPlan
from dlerse_jax.agents.two_stage.q_learning import with_q_learning
from dlerse_jax.agents.two_stage.tables import MOST_PEOPLE, make_tables
from dlerse_jax.config_ranges import check_ranges
from dlerse_jax.data import TableLayout, load_dataset, synthetic_dataset
from dlerse_jax.data.features import refuse_cold_items, without_cold_items
from dlerse_jax.environment.simulator import Simulator, make_simulator
from dlerse_jax.evaluation.protocols import Task, make_task
from dlerse_jax.experiment.vmapped_keys import learning_settings
from dlerse_jax.learning.optimizer import make_optimizer
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.runs.progress import silent
from dlerse_jax.runtime.backend import check_backend
from dlerse_jax.types import Agent, Dataset

# Validation users below which a fold of training users selects beside them.
FEW_USERS = 160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that a config names, before anything is trained."""

    dataset: Dataset
    task: Task  # agent and environment are built on the likes that it leaves known
    environment: Simulator
    agent: Agent


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What an agent was made of: the same config and data make the same agent."""

    config: Mapping[str, Any]  # all keys, nested; agent.name is the agent's
    dataset: Dataset  # as the agent was given it


def build(config: ConfigDict) -> Experiment:
    """What one config names; ValueError, before any compile, for what it gets wrong."""
    return build_all([config], build_dataset(config))[0]


def build_all(
    configs: Sequence[ConfigDict],
    dataset: Dataset,
    tell: Callable[[str], None] = silent,
) -> list[Experiment]:
    """As `build`, for configs that differ in traced keys alone.

    They share data set, task and agent, and all arrays of the environment but alpha.
    """
    task = build_task(configs[0], dataset)
    environments = build_environments(configs, task.known)
    agent = build_agent(configs[0], task.known, tell=tell)
    check_fits(agent, environments[0])
    return [
        Experiment(dataset=dataset, task=task, environment=environment, agent=agent)
        for environment in environments
    ]


def check_fits(agent: Agent, environment: Simulator) -> None:
    """ValueError where an agent was made for another environment than this one."""
    if agent.horizon not in (None, environment.horizon):
        raise ValueError(
            f"{agent.name} was made for episodes of {agent.horizon} steps, the "
            f"environment has {environment.horizon}; give make_agent "
            f"horizon={environment.horizon}"
        )
    miss = float(environment.miss_reward)
    if agent.miss_reward not in (None, miss):
        raise ValueError(
            f"{agent.name} was made for a dislike that pays {agent.miss_reward:g}, in "
            f"the environment it pays {miss:g}; give make_agent miss={miss:g}"
        )


def build_dataset(config: ConfigDict) -> Dataset:
    """The data set that config.data names; every number of the config is in range."""
    check_ranges(flat_items(config.to_dict()))
    options = config.data
    if (options.format or options.name) == "synthetic":
        refuse_cold_items(options.cold_items or options.table.features != "")
        return synthetic_dataset(split=options.split, **options.synthetic)
    return load_dataset(
        options.name,
        options.path or None,
        format=options.format or None,
        split=options.split,
        min_items_per_user=options.min_items_per_user,
        min_users_per_item=options.min_users_per_item,
        min_rating=options.min_rating,
        core=options.core,
        item_kind=options.item_kind,
        symmetric_friends=options.symmetric_friends,
        reverse_weight=options.reverse_weight,
        friend_weights=options.friend_weights,
        cold_items=options.cold_items,
        table=TableLayout(**options.table),
    )


def build_task(config: ConfigDict, dataset: Dataset) -> Task:
    """The task of config.evaluation; agents are built on its `known` alone.

    Cold items are no part of it: nobody's answer about them is known.
    """
    options = config.evaluation
    return make_task(
        options.protocol,
        without_cold_items(dataset),
        split=config.data.split,
        others_per_like=options.others_per_like,
        ranking_of=options.ranking_of,
        most_users=options.most_users,
    )


def build_environments(
    configs: Sequence[ConfigDict], dataset: Dataset
) -> list[Simulator]:
    """Simulated users, one environment per config; they may differ in alpha alone."""
    config = configs[0]
    shared = make_simulator(
        dataset,
        alpha=0.0,
        horizon=config.episode.horizon,
        miss_reward=config.reward.miss,
        satiation=config.user.satiation,
        most_topics=config.user.most_topics,
    )
    return [shared.replace(alpha=jnp.float32(own.reward.alpha)) for own in configs]


def build_agent(
    config: ConfigDict,
    dataset: Dataset,
    name: str = "",
    tell: Callable[[str], None] = silent,
    *,
    cold_items: bool = False,
    to_serve: bool = False,
    is_saved: bool = False,
) -> Agent:
    """The agent that config.agent names, or another one under the same config.

    It knows cold items only where cold_items says so: to serve, not to be trained.
    to_serve: it will not be trained, and what only training reads is not made.
    is_saved: every array of its state is then read from a checkpoint. A deep agent's
    factors are not made for that, which are a large matrix' decomposition.
    """
    check_backend()
    check_ranges(flat_items(config.to_dict()))
    name = name or config.agent.name
    if name not in AGENTS:
        raise ValueError(f"agent.name is {name!r}, expected one of {', '.join(AGENTS)}")
    settings = {**config.to_dict(), "agent": {"name": name}}
    source = Source(config=settings, dataset=dataset)
    known = dataset if cold_items else without_cold_items(dataset)
    if is_saved and name in DEEP:
        config = config.copy_and_resolve_references()
        config.network.factors = "random"  # of the same shapes
    agent = _agent(config, known, name, tell, cold_items or to_serve)
    return dataclasses.replace(agent, source=source)


def _agent(
    config: ConfigDict,
    dataset: Dataset,
    name: str,
    tell: Callable[[str], None],
    to_serve: bool,
) -> Agent:
    if name in CLASSICAL:
        return CLASSICAL[name](dataset, **config.baseline.get(name, {}))
    if name in OFFLINE:
        return OFFLINE[name](dataset, **config.offline[name])
    if name == RANK:
        return _rank_agent(config, dataset, tell, to_serve)
    preset, network, q_learning = DEEP[name], config.network, config.q_learning
    return deep_agent(
        name,
        dataset,
        miss_reward=config.reward.miss,
        factors=network.factors,
        factor_regularisation=network.factor_regularisation,
        train_tables=network.train_tables,
        width=network.width,
        hidden=network.hidden,
        hops=preset.get("hops", network.hops),
        fan_out=network.fan_out,
        heads=network.heads,
        fusion=network.fusion or preset["fusion"],
        encoder=network.encoder or preset["encoder"],
        dropout=network.dropout,
        session_gain=network.session_gain,
        dislike_weight=network.dislike_weight,
        block=q_learning.block,
        plus=Plus(**config.plus) if preset.get("plus") else None,
        optimizer=make_optimizer(
            clip_norm=config.optimizer.clip_norm,
            weight_decay=config.optimizer.weight_decay,
            bias_rate=config.optimizer.bias_rate,
        ),
        exploration=q_learning.exploration,
        settings=learning_settings(config, name),
        plan=_plan(config),
    )


def _rank_agent(
    config: ConfigDict, dataset: Dataset, tell: Callable[[str], None], to_serve: bool
) -> Agent:
    network, rank = config.network, config.rank
    cross_fitted = make_tables(
        dataset,
        num_folds=rank.folds,
        num_candidates=rank.candidates,
        dislike_weight=network.dislike_weight,
        plus=Plus(**config.plus),
        factors=network.factors,
        width=network.width,
        regularisation=network.factor_regularisation,
        session_gain=network.session_gain,
        miss_reward=config.reward.miss,
        to_serve=to_serve,
        tell=tell,
    )
    parts = rank_parts(
        training=Training(
            learning_rate=rank.learning_rate,
            weight_decay=rank.weight_decay,
            batches=rank.batches,
            batch_size=rank.batch_size,
        ),
        hidden=rank.width,
        horizon=config.episode.horizon,
        episodes=rank.episodes,
        epsilon=rank.epsilon,
        friendless_share=rank.friendless_share,
        holds_out=rank.folds > 2 and 0 < len(dataset.split.validation) < FEW_USERS,
    )
    agent = rank_agent(RANK, cross_fitted, parts)
    if rank.q_learning:
        plan = _order_plan(config)
        if rank.answer_rank:
            agent = with_answers(agent, parts, plan, rank.answer_rank)
        else:
            agent = with_q_learning(agent, parts, plan)
    return dataclasses.replace(
        agent,
        miss_reward=config.reward.miss,
        far=(config.plus.far_hops, MOST_PEOPLE),
    )


def _order_plan(config: ConfigDict) -> OrderPlan:
    return OrderPlan(
        gamma=config.q_learning.gamma,
        episodes=config.q_learning.act_batch,
        epsilon_first=config.q_learning.epsilon_first,
        epsilon_last=config.q_learning.epsilon_last,
        miss_reward=config.reward.miss,
    )


def _plan(config: ConfigDict) -> Plan:
    return Plan(
        act_batch=config.q_learning.act_batch,
        batch_size=config.q_learning.batch_size,
        replay_capacity=config.q_learning.replay_capacity,
        warmup=config.optimizer.warmup,
        pretrain_loss=config.pretrain.loss,
        pretrain_steps=config.pretrain.steps,
        horizon=config.episode.horizon,
    )
