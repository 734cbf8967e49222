"""From a config to a finished run directory: build, train, resume, evaluate.

This is the only reader of config keys; below it everything has keywords. A run can be
killed at any time and started again with the same command: it goes on from its newest
checkpoint and ends with the numbers it would have had.
"""

import dataclasses
import math
import resource
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax import checkpoint
from dlerse_jax.agents.deep import deep_agent
from dlerse_jax.agents.dqn import Plan
from dlerse_jax.agents.registry import AGENTS, CLASSICAL, DEEP
from dlerse_jax.data import (
    TableLayout,
    dataset_statistics,
    load_dataset,
    synthetic_dataset,
)
from dlerse_jax.evaluation.rollout import evaluate_users, greedy_rollout
from dlerse_jax.evaluation.summary import summarize, user_metrics
from dlerse_jax.interrupts import stop_requested
from dlerse_jax.run_folder import write_config, write_summary
from dlerse_jax.simulator import Simulator, make_simulator
from dlerse_jax.tracking import RunLog, read_metrics
from dlerse_jax.training import PHASES, init_states, seed_keys, train_chunk
from dlerse_jax.types import Agent, Dataset, Evaluation

VALIDATION_CUTOFFS = (1, 5, 10, 20, 32)


class Interrupted(Exception):
    """A signal asked the run to end; its state is saved."""


# --- building -------------------------------------------------------------------------


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


def build_world(config: ConfigDict, dataset: Dataset) -> Simulator:
    """The simulated users of a data set."""
    return make_simulator(
        dataset,
        alpha=config.reward.alpha,
        horizon=config.episode.horizon,
        miss_reward=config.reward.miss,
    )


def build_agent(config: ConfigDict, dataset: Dataset, name: str = "") -> Agent:
    """The agent that config.agent names, or another one under the same config."""
    name = name or config.agent.name
    if name not in AGENTS:
        raise ValueError(f"agent.name is {name!r}, expected one of {', '.join(AGENTS)}")
    if name in CLASSICAL:
        return CLASSICAL[name](dataset, **config.baseline.get(name, {}))
    preset, network, learn = DEEP[name], config.network, config.learn
    return deep_agent(
        name,
        dataset,
        miss_reward=config.reward.miss,
        factors=network.factors,
        factor_regularisation=network.factor_regularisation,
        train_tables=network.train_tables,
        width=network.width,
        hidden=network.hidden,
        hops=network.hops,
        heads=network.heads,
        fusion=network.fusion or preset["fusion"],
        encoder=network.encoder or preset["encoder"],
        dropout=network.dropout,
        memory_gain=network.memory_gain,
        dislike_weight=network.dislike_weight,
        clip_norm=config.optimizer.clip_norm,
        weight_decay=config.optimizer.weight_decay,
        exploration=learn.exploration,
        settings=_settings(config),
        plan=_plan(config),
    )


def _settings(config: ConfigDict) -> dict[str, float]:
    fit, learn = config.fit, config.learn
    return {
        "gamma": learn.gamma,
        "learning_rate": learn.learning_rate,
        "fit_learning_rate": fit.learning_rate,
        "epsilon_first": learn.epsilon_first,
        "epsilon_last": learn.epsilon_last,
        "fit_epsilon": fit.epsilon,
        "hide_least": learn.hide_least,
        "hide_most": learn.hide_most,
        "target_step": learn.target_step,
        "average_step": config.optimizer.average_step,
        "anchor": learn.anchor,
    }


def _plan(config: ConfigDict) -> Plan:
    return Plan(
        act_batch=config.learn.act_batch,
        batch_size=config.learn.batch_size,
        replay_capacity=config.learn.replay_capacity,
        warmup=config.optimizer.warmup,
        fit_loss=config.fit.loss,
        fit_steps=config.fit.steps,
        horizon=config.episode.horizon,
        block=config.learn.block,
    )


def _phase_lengths(config: ConfigDict, agent: Agent) -> dict[str, int]:
    """Updates of each phase; an agent without learning has none."""
    wanted = {"fit": config.fit.num_updates, "learn": config.learn.num_updates}
    lengths = {phase: wanted[phase] if getattr(agent, phase) else 0 for phase in PHASES}
    every = config.tracking.every
    periods = {
        "tracking.checkpoint_every": config.tracking.checkpoint_every,
        "evaluation.every": config.evaluation.every,
    }
    counts = {f"{phase}.num_updates": length for phase, length in lengths.items()}
    for key, number in (counts | periods).items():
        if every < 1 or number % every:
            raise ValueError(
                f"{key} is {number}, which is not a multiple of tracking.every "
                f"({every}); everything between two log lines is one compiled program"
            )
    return lengths


# --- training -------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class Run:
    """What one run holds in hand: built from its config, moved on by `train`."""

    config: ConfigDict
    workdir: Path
    dataset: Dataset
    world: Simulator
    agent: Agent
    roots: jax.Array  # [S] keys
    states: object
    lengths: dict[str, int]
    play: object  # the compiled greedy rollout
    step: int = 0  # updates done, both phases

    @property
    def num_steps(self) -> int:
        return sum(self.lengths.values())

    def evaluate(self, users: np.ndarray) -> Evaluation:
        """Greedy episodes of users with the averaged parameters of every seed."""
        return evaluate_users(
            self.play,
            self.states,
            self.world,
            users,
            self.roots,
            agent_name=self.agent.name,
            protocol=self.config.evaluation.protocol,
        )


def build_run(config: ConfigDict, workdir: str | Path) -> Run:
    """A run at its newest checkpoint, or at its start.

    ValueError, before any compile, for anything wrong in the config, and where the
    directory holds a run of another config.
    """
    dataset = build_dataset(config)
    world = build_world(config, dataset)
    agent = build_agent(config, dataset)
    lengths = _phase_lengths(config, agent)
    write_config(workdir, config.to_dict())
    roots = seed_keys(config.seed + jnp.arange(config.num_seeds))
    run = Run(
        config=config,
        workdir=Path(workdir),
        dataset=dataset,
        world=world,
        agent=agent,
        roots=roots,
        states=init_states(agent, roots),
        lengths=lengths,
        play=greedy_rollout(agent),
    )
    found = checkpoint.restore_newest(workdir, run.states)
    if found:
        run.step, run.states = found
    return run


def train(run: Run, log: RunLog) -> None:
    """All updates that are left, chunk by chunk.

    Raises Interrupted after saving when a signal asks for it, and ValueError when a
    number is no longer finite, leaving the checkpoint before that.
    """
    tracking = run.config.tracking
    first_of_phase = 0
    with stop_requested() as stop:
        for phase, length in run.lengths.items():
            if length:
                chunk = train_chunk(run.agent, phase, tracking.every)
            while first_of_phase <= run.step < first_of_phase + length:
                number = run.step - first_of_phase
                run.states, measured = chunk(
                    run.states, run.world, run.roots, number, length
                )
                run.step += tracking.every
                _log_chunk(run, log, phase, jax.device_get(measured))
                is_due = run.step % tracking.checkpoint_every == 0
                if is_due or stop.flag or run.step == run.num_steps:
                    checkpoint.save(run.workdir, run.step, run.states)
                if stop.flag and run.step < run.num_steps:
                    raise Interrupted(
                        f"stopped at update {run.step} of {run.num_steps}; the same "
                        f"command goes on from {run.workdir}"
                    )
            first_of_phase += length


def _log_chunk(run: Run, log: RunLog, phase: str, measured: dict) -> None:
    numbers = {f"{phase}/{name}": values.mean() for name, values in measured.items()}
    broken = [name for name, value in numbers.items() if not math.isfinite(value)]
    if broken:
        raise ValueError(
            f"{broken[0]} is not finite at update {run.step}; {run.workdir} keeps the "
            f"last good checkpoint; lower {phase}.learning_rate"
        )
    if run.step % run.config.evaluation.every == 0 or run.step == run.num_steps:
        evaluation = run.evaluate(run.dataset.split.validation)
        metrics = user_metrics(evaluation)
        numbers |= {
            f"eval/{name}": np.nanmean(values) for name, values in metrics.items()
        }
    log.log(run.step, numbers)


# --- the whole run --------------------------------------------------------------------


def train_and_evaluate(
    config: ConfigDict, workdir: str | Path, *, quiet: bool = False
) -> dict:
    """Trains, or goes on training, and judges on the test users -> the summary.

    Leaves config.json, metrics.jsonl, checkpoints, evaluation.npz, baselines/*.npz and
    summary.json in workdir.
    """
    run = build_run(config, workdir)
    with RunLog(
        workdir,
        config=config.to_dict(),
        name=Path(workdir).name,
        group=None,
        use_wandb=config.tracking.wandb,
        start_step=run.step,
        total_steps=run.num_steps,
        quiet=quiet,
    ) as log:
        train(run, log)
        summary = summarize_run(run)
        write_summary(workdir, summary)
        log.log_artifact_files([Path(workdir) / "summary.json"])
    return summary


def summarize_run(run: Run) -> dict:
    """Plays the test users once, with the agent and with each baseline."""
    users = run.dataset.split.test
    evaluation = run.evaluate(users)
    start = time.perf_counter()
    run.evaluate(users)
    seconds = time.perf_counter() - start
    checkpoint.write_evaluation(run.workdir / "evaluation.npz", evaluation)
    lines = read_metrics(run.workdir)
    return {
        "agent": run.agent.name,
        "dataset": run.dataset.name,
        "protocol": run.config.evaluation.protocol,
        "split": run.config.data.split,
        "num_seeds": run.config.num_seeds,
        "summary": summarize(evaluation),
        "baselines": _judge_baselines(run, users),
        "wall_seconds": lines[-1]["wall_seconds"] if lines else 0.0,
        "decisions_per_second": evaluation.items.size / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "num_parameters": _count_parameters(run.states),
        "dataset_statistics": dataset_statistics(run.dataset),
    }


def _judge_baselines(run: Run, users: np.ndarray) -> dict[str, dict]:
    summaries = {}
    for name in run.config.evaluation.baselines:
        agent = build_agent(run.config, run.dataset, name)
        evaluation = evaluate_users(
            greedy_rollout(agent),
            init_states(agent, run.roots),
            run.world,
            users,
            run.roots,
            agent_name=name,
            protocol=run.config.evaluation.protocol,
        )
        path = run.workdir / "baselines" / f"{name}.npz"
        checkpoint.write_evaluation(path, evaluation)
        summaries[name] = summarize(evaluation)
    return summaries


def _count_parameters(states) -> int:
    """Trained numbers of one seed; 0 for an agent that trains none."""
    params = getattr(states, "params", {})
    return sum(leaf[0].size for leaf in jax.tree.leaves(params))
