"""From a config to a finished run directory: build, train, resume, evaluate.

Of config keys it reads what a run needs beside `build.py`: seeds, devices, lengths of
the phases, periods, selection, baselines, tracking. A run can be killed at any time and
started again with the same command: it goes on from its newest checkpoint and ends with
the numbers it would have had.
"""

import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax.agents.dqn.learner import LearnerState, Settings
from dlerse_jax.agents.ensemble import make_ensemble
from dlerse_jax.agents.registry import OFFLINE, RANK
from dlerse_jax.data import dataset_digest, dataset_statistics
from dlerse_jax.data.features import restore_cold_items
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.evaluation.evaluator import Evaluator, make_evaluator
from dlerse_jax.evaluation.protocols import Task
from dlerse_jax.experiment.ahead import compile_first, jobs_beside
from dlerse_jax.experiment.baselines import evaluate_baselines, write_evaluation
from dlerse_jax.experiment.build import Experiment, build_all, build_dataset
from dlerse_jax.experiment.checks import (
    check_dataset,
    check_run,
    notes_on_dataset,
    phase_lengths,
)
from dlerse_jax.experiment.chosen_settings import settle, with_stored_choice
from dlerse_jax.experiment.early_stopping import BestCheckpoint, Selection, start_best
from dlerse_jax.experiment.training_run import Interrupted as Interrupted
from dlerse_jax.experiment.training_run import Periods, Run, resume, train
from dlerse_jax.experiment.vmapped_keys import (
    hyperparameters_read,
    learning_settings,
    static_words,
)
from dlerse_jax.learning.train_loop import (
    PHASES,
    Programs,
    init_states,
    seed_keys,
)
from dlerse_jax.reporting.mirror import mirror_results
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.dataset_file import keep_dataset
from dlerse_jax.runs.directory import (
    check_config,
    check_data,
    check_data_beside,
    runs_in_program,
    write_config,
    write_summary,
)
from dlerse_jax.runs.log import RunLog, read_metrics, seconds_of
from dlerse_jax.runs.progress import silent, teller
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.beside import Once
from dlerse_jax.runtime.directory_lock import locked
from dlerse_jax.types import Agent, State


def build_run(config: ConfigDict, workdir: str | Path) -> Run:
    """A run at its newest checkpoint, or at its start.

    ValueError, before any compile, for anything wrong in the config, and where the
    directory holds a run of another config.
    """
    return build_runs([config], [workdir])[0]


def build_runs(
    configs: Sequence[ConfigDict],
    workdirs: Sequence[str | Path],
    *,
    will_train: bool = True,
    beside: Path | None = None,
    tell: Callable[[str], None] = silent,
) -> list[Run]:
    """Runs of one program: their configs may differ in `traced_keys` alone.

    They share data set, task, agent and compiled programs. Runs in the folder `beside`
    must have the same data, for they are compared with these. tell reports long steps.
    """
    built = _build_checked(configs, workdirs, beside, will_train, tell)
    configs, experiments, digest = built
    config, agent, task = configs[0], experiments[0].agent, experiments[0].task
    lengths, baselines = phase_lengths(config), Once()
    identity = f"{static_words(config)} {dataset_digest(task.known)}"
    mesh = sharding.make_mesh(config.devices.users, config.devices.catalogue)
    kept = "" if mesh else identity
    evaluators = _evaluators(config, agent, task, kept)
    roots = seed_keys(config.seed + jnp.arange(config.num_seeds))
    world = sharding.place(mesh, experiments[0].environment).replace(mesh=mesh)
    programs = Programs(agent, config.tracking.every, identity)
    phases = _fresh_phases(lengths, workdirs) if will_train else []
    waiting = compile_first(programs, phases, configs, world, roots)
    start = init_states(agent, roots)
    if will_train and (num_updates := sum(lengths.values())):
        tell(f"compiling; {num_updates} updates in all")
    _write_start(configs, workdirs, experiments[0], digest, will_train)
    places = zip(configs, workdirs, experiments, strict=True)
    runs = [
        Run(
            config=own_config,
            workdir=Path(workdir),
            dataset=experiment.dataset,
            task=task,
            world=world.replace(alpha=experiment.environment.alpha),
            agent=agent,
            roots=roots,
            states=_with_settings(start, own_config),
            best=_start_best(agent, start, own_config),
            selection=_selection(own_config, lengths, experiment.environment),
            lengths=lengths,
            periods=_periods(config),
            rate_keys=_rate_keys(agent.name),
            programs=programs,
            evaluator=evaluators[0],
            final_evaluator=evaluators[1],
            baselines=baselines,
            identity=kept,
            data_digest=digest,
            numbers=hyperparameters_read(own_config),
        )
        for own_config, workdir, experiment in places
    ]
    resume(runs)
    if will_train:
        runs[0].ahead = jobs_beside(runs[0], waiting)
    return runs


def _fresh_phases(lengths: dict[str, int], workdirs: Sequence[str | Path]) -> list[str]:
    """Phases that runs will go through from the first update on."""
    is_fresh = not any(map(checkpoint.exists, workdirs))
    return [phase for phase, length in lengths.items() if length and is_fresh]


def _write_start(
    configs: Sequence[ConfigDict],
    workdirs: Sequence[str | Path],
    experiment: Experiment,
    data_digest: str,
    will_train: bool,
) -> None:
    """Once all is built, and so all that can be wrong in a config is known.

    The configs and, where the agents are trained, what they are made of, with the items
    that nobody likes yet.
    """
    for config, workdir in zip(configs, workdirs, strict=True):
        write_config(
            workdir,
            config.to_dict(),
            data_digest=data_digest,
            runs_in_program=len(configs),
        )
    if will_train:
        known = restore_cold_items(experiment.task.known, experiment.dataset)
        keep_dataset(workdirs, known, data_digest)


def _build_checked(
    configs: Sequence[ConfigDict],
    workdirs: Sequence[str | Path],
    beside: Path | None,
    will_train: bool,
    tell: Callable[[str], None],
) -> tuple[Sequence[ConfigDict], list[Experiment], str]:
    """The configs with what the data choose, what they name, the digest of the data.

    ValueError, the cheapest check first, for what no run can be made of, and where a
    directory holds a run of another config or of other data.
    """
    if will_train:
        configs = list(map(with_stored_choice, configs, workdirs))
    config = configs[0]
    for own_config, workdir in zip(configs, workdirs, strict=True):
        check_run(own_config)
        check_config(workdir, own_config.to_dict())
    tell(f"reading the data set {config.data.name}")
    dataset = build_dataset(config)
    check_dataset(config, dataset)
    digest = dataset_digest(dataset)
    for workdir in workdirs:
        check_data(workdir, digest)
    if beside:
        check_data_beside(beside, config.to_dict(), digest)
    tell(
        f"building {config.agent.name} for {dataset.num_users:,} users and "
        f"{dataset.num_items:,} items"
    )
    for note in notes_on_dataset(config, dataset):
        tell(note)
    if will_train:
        configs = settle(configs, workdirs, dataset, tell)
    return configs, build_all(configs, dataset, tell), digest


def _selection(
    config: ConfigDict, lengths: dict[str, int], environment: Simulator
) -> Selection:
    return Selection(
        select=config.evaluation.select,
        pretrain_updates=lengths["pretrain"],
        q_learning_updates=lengths["q_learning"],
        alpha=float(environment.alpha),
    )


def _periods(config: ConfigDict) -> Periods:
    return Periods(
        log=config.tracking.every,
        validation=config.evaluation.every,
        checkpoint=config.tracking.checkpoint_every,
    )


def _rate_keys(agent_name: str) -> dict[str, str]:
    """Phase -> the config key of the agent's learning rate in it."""
    own = {RANK: "rank"} | {name: f"offline.{name}" for name in OFFLINE}
    sections = {phase: phase for phase in PHASES}
    sections["pretrain"] = own.get(agent_name, "pretrain")
    return {phase: f"{section}.learning_rate" for phase, section in sections.items()}


def _evaluators(
    config: ConfigDict, agent: Agent, task: Task, identity: str
) -> tuple[Evaluator, Evaluator]:
    """While a run is trained, and at its end: each seed by itself, or all as one."""
    evaluator = make_evaluator(agent, task, identity)
    if config.evaluation.seeds == "individual":
        return evaluator, evaluator
    ensemble = make_ensemble(agent, config.num_seeds)
    of_all = make_evaluator(ensemble, task, identity and f"ensemble {identity}")
    return evaluator, Evaluator(
        evaluate=lambda states, world, users, roots: of_all(
            states, world, users, roots[:1]
        ),
        prepare=lambda states, world, users, roots: of_all.prepare(
            states, world, users, roots[:1]
        ),
    )


def _start_best(
    agent: Agent, start: State, config: ConfigDict
) -> BestCheckpoint | None:
    return start_best(agent, start, config.num_seeds, config.evaluation.select)


def _with_settings(states: State, config: ConfigDict) -> State:
    """States [S, ...] that learn as this config says; others have no settings."""
    if not isinstance(states, LearnerState):
        return states
    settings = {
        name: _filled(getattr(states.settings, name), number)
        for name, number in learning_settings(config, config.agent.name).items()
    }
    return states.replace(settings=Settings(**settings))


def _filled(like: jax.Array, number: float) -> jax.Array:
    return sharding.device_copy(np.full(like.shape, number, like.dtype))


def train_and_evaluate(
    config: ConfigDict, workdir: str | Path, *, quiet: bool = False
) -> dict:
    """Trains, or goes on training, and evaluates on the test users -> the summary.

    Leaves config.json, dataset.npz, metrics.jsonl, checkpoints, evaluation.npz,
    baselines/*.npz and summary.json in workdir, where ~ is the home directory.
    """
    workdir = Path(workdir).expanduser()
    with locked([workdir]):
        tell = teller(workdir.name, quiet=quiet)
        [run] = build_runs([config], [workdir], tell=tell)
        with open_log(run, group=None, quiet=quiet) as log:
            train([run], [log])
            if run.failure:
                raise ValueError(run.failure)
            return finish_run(run, log)


def open_log(run: Run, *, group: str | None, quiet: bool) -> RunLog:
    """The log of a run, taken up at its checkpoint."""
    tracking = run.config.tracking
    return RunLog(
        run.workdir,
        config=run.config.to_dict(),
        name=run.workdir.name,
        group=group,
        wandb_project=tracking.project if tracking.wandb else None,
        start_step=run.step,
        total_steps=run.num_steps,
        quiet=quiet,
    )


def finish_run(run: Run, log: RunLog) -> dict:
    """Evaluates a trained run and writes the summary it returns."""
    log.tell(f"evaluating {len(run.task.users)} users")
    summary = summarize_run(run)
    write_summary(run.workdir, summary)
    mirror_results(log, run.workdir, artifacts=run.config.tracking.artifacts)
    return summary


def summarize_run(run: Run) -> dict:
    """Evaluates the agent and each baseline on the task's users."""
    users = run.task.users
    result = run.evaluate(users)
    write_evaluation(run.workdir / "evaluation.npz", result)
    lines = read_metrics(run.workdir)
    return {
        "agent": result.agent,
        "dataset": run.dataset.name,
        "protocol": run.config.evaluation.protocol,
        "split": run.config.data.split,
        "num_seeds": run.config.num_seeds,
        "summary": result.summary(),
        **evaluate_baselines(run),
        "wall_seconds": lines[-1]["wall_seconds"] if lines else 0.0,
        "update_seconds": seconds_of(lines, "update"),  # of them
        "validation_seconds": seconds_of(lines, "validation"),  # and of the others
        "select": run.selection.select,
        "selected": run.selected,  # phase and update of each seed
        "runs_in_program": runs_in_program(run.workdir),  # that share wall seconds
        "decisions_per_second": run.decisions_per_second(),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "num_parameters": run.num_parameters,
        "dataset_statistics": dataset_statistics(run.dataset),
    }
