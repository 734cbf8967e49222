"""From a config to what it names: data set, task, world and agent.

In goes a config; out comes what `runner.py` makes a run of. This, `runner.py` and
`traced` are the only readers of config keys; below everything has keywords.
"""

from ml_collections import ConfigDict

from dlerse_jax.agents.dqn.factory import deep_agent
from dlerse_jax.agents.dqn.hyperparameters import Plan
from dlerse_jax.agents.dqn.initialization import Plus
from dlerse_jax.agents.offline.base import Training
from dlerse_jax.agents.registry import AGENTS, CLASSICAL, DEEP, OFFLINE, RANK
from dlerse_jax.agents.two_stage.agent import rank_agent
from dlerse_jax.agents.two_stage.tables import make_tables
from dlerse_jax.data import TableLayout, load_dataset, synthetic_dataset
from dlerse_jax.environment.simulator import Simulator, make_simulator
from dlerse_jax.evaluation.protocols import Task, make_task
from dlerse_jax.experiment.vmapped_keys import learning_settings
from dlerse_jax.learning.optimizer import make_optimizer
from dlerse_jax.types import Agent, Dataset


def build_dataset(config: ConfigDict) -> Dataset:
    """The data set that config.data names."""
    options = config.data
    if (options.format or options.name) == "synthetic":
        return synthetic_dataset(split=options.split, **options.synthetic)
    return load_dataset(
        options.name,
        options.path or None,
        format=options.format or None,
        split=options.split,
        min_items_per_user=options.min_items_per_user,
        min_users_per_item=options.min_users_per_item,
        min_rating=options.min_rating or None,
        item_kind=options.item_kind,
        symmetric_friends=options.symmetric_friends,
        table=TableLayout(**options.table),
    )


def build_task(config: ConfigDict, dataset: Dataset) -> Task:
    """What config.evaluation asks; agents are built on the task's `known` alone."""
    options = config.evaluation
    return make_task(
        options.protocol,
        dataset,
        split=config.data.split,
        others_per_like=options.others_per_like,
        ranking_of=options.ranking_of,
        most_users=options.most_users,
    )


def build_world(config: ConfigDict, dataset: Dataset) -> Simulator:
    """The simulated users of a data set."""
    return make_simulator(
        dataset,
        alpha=config.reward.alpha,
        horizon=config.episode.horizon,
        miss_reward=config.reward.miss,
        satiation=config.user.satiation,
        most_topics=config.user.most_topics,
    )


def build_agent(config: ConfigDict, dataset: Dataset, name: str = "") -> Agent:
    """The agent that config.agent names, or another one under the same config."""
    name = name or config.agent.name
    if name not in AGENTS:
        raise ValueError(f"agent.name is {name!r}, expected one of {', '.join(AGENTS)}")
    if name in CLASSICAL:
        return CLASSICAL[name](dataset, **config.baseline.get(name, {}))
    if name in OFFLINE:
        return OFFLINE[name](dataset, **config.offline[name])
    if name == RANK:
        return _rank_agent(config, dataset)
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


def _rank_agent(config: ConfigDict, dataset: Dataset) -> Agent:
    network, rank = config.network, config.rank
    cross_fitted = make_tables(
        dataset,
        num_folds=rank.folds,
        num_strata=rank.candidates,
        dislike_weight=network.dislike_weight,
        plus=Plus(**config.plus),
        factors=network.factors,
        width=network.width,
        regularisation=network.factor_regularisation,
        session_gain=network.session_gain,
        miss_reward=config.reward.miss,
    )
    return rank_agent(
        RANK,
        cross_fitted,
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
