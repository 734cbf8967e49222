"""What a Python user calls: make an agent, train it, evaluate it, without run folders.

The names are exported by `dlerse_jax` itself. Defaults are those of `base_config()`.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax.agents.registry import AGENTS
from dlerse_jax.data.features import without_cold_items
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.evaluation.evaluator import Result, episodes_result
from dlerse_jax.experiment import runner
from dlerse_jax.experiment.agent_keys import (
    LENGTHS,
    check_changed,
    check_settings,
    settings_read,
    that_act,
)
from dlerse_jax.experiment.arguments import (
    check_lengths,
    check_name,
    checked_seeds,
    checked_users,
)
from dlerse_jax.experiment.build import build_agent, check_fits
from dlerse_jax.experiment.chosen_settings import choose_alone
from dlerse_jax.experiment.early_stopping import (
    Evaluate,
    Selection,
    asked,
    handed_over,
    selected_places,
    start_best,
    validate,
    with_best,
)
from dlerse_jax.experiment.sweep import changed_config
from dlerse_jax.learning.train_loop import PHASES, init_states, seed_keys, train_chunk
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.serving.trained import Trained
from dlerse_jax.types import Agent, Dataset, Evaluation, State

NUMBERS_OF_CHOICE = ("precision", "precision_before", "standard_error", "num_users")
CHUNK = 20  # updates a compiled program; schedules do not depend on it
# Where a key belongs that is no setting of an agent, by how it begins.
ELSEWHERE = {
    "reward.": "give it to make_simulator",
    "user.": "give it to make_simulator",
    "episode.": "give it to make_simulator",
    "data.": "give it to load_dataset or synthetic_dataset",
    "seed": "give seeds to train",
    "num_seeds": "give seeds to train",
    "pretrain.num_updates": "give pretrain_updates to train",
    "q_learning.num_updates": "give q_learning_updates to train",
    "evaluation.select": "give it to train",
    "evaluation.every": "give validate_every to train",
    "": "set it in a config for train_and_evaluate",
}


def make_agent(
    name: str, dataset: Dataset, *, tune: bool = False, **overrides: Any
) -> Agent:
    """An agent by its name in `agents/registry.py`.

    overrides are config keys by their last word (`hops=3`), or in full where that word
    has two owners (`**{"q_learning.learning_rate": 1e-4}`). With tune, what they leave
    open has the values of `tuned_settings`. ValueError names the nearest key for one
    that does not exist, and says where a key belongs that does nothing for this agent.
    Cold items are no part of it; a recommender knows them.
    """
    check_name(name)
    if tune:
        overrides |= tuned_settings(name, dataset, **overrides).settings
    return build_agent(_agent_config(name, overrides), dataset, name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedSettings:
    """Settings chosen for a data set, and the precision of training users with them."""

    settings: dict[str, float]  # by key in full, as `make_agent` takes them
    precision: float  # over the horizon; mean over folds that were left out
    precision_before: float  # with the settings that the choice started from
    standard_error: float  # of the difference
    num_users: int
    tried: tuple[dict[str, Any], ...]  # every point: settings, round, mean


def tuned_settings(
    name: str, dataset: Dataset, *, world: Simulator | None = None, **overrides: Any
) -> TunedSettings:
    """What a data set chooses for a policy without learning, or for what an agent is
    before it learns: dlerse_rank's first stage, EASE on the answers for dlerse_con.

    The policy plays folds of training users whom it does not know, with several dozen
    settings, in the world (None: episodes of the default horizon); no validation or
    test user is asked. Overrides stay as they are. ValueError for an agent that has
    nothing to choose, and as of `make_agent`.
    """
    config = _agent_config(name, overrides)
    found = choose_alone(
        config,
        name,
        without_cold_items(dataset),
        world,
        given=[_full_key(name, key) for key in overrides],
    )
    return TunedSettings(
        settings=that_act(config, found["chosen"], name),
        tried=tuple(found["tried"]),
        **{word: found[word] for word in NUMBERS_OF_CHOICE},
    )


def _agent_config(name: str, overrides: dict[str, Any]) -> ConfigDict:
    """The defaults with overrides; as they are for a name that no agent has."""
    config = base_config()
    config.update_from_flattened_dict({"tune": False})  # it is asked for by name
    if name in AGENTS:
        changes = {_full_key(name, key): value for key, value in overrides.items()}
        config = changed_config(config, changes)
        check_settings(config, changes, name)
    return config


def _full_key(agent_name: str, key: str) -> str:
    every = [full for full, _ in flat_items(base_config().to_dict())]
    read = settings_read(agent_name) - set(LENGTHS)
    if any(full.startswith("network.") for full in read):  # made for one environment
        read |= {"episode.horizon", "reward.miss"}
    found = _named(key, [full for full in every if full in read])
    own = [full for full in found if full.startswith("rank.")]  # before q_learning's
    if len(own or found) == 1:
        return (own or found)[0]
    if found:
        raise ValueError(f"{key} could be {' or '.join(found)}: give it in full")
    if others := _named(key, every):
        shared = [
            full for full in others if not full.startswith(("baseline", "offline"))
        ]
        _refuse(agent_name, key, (shared or others)[0])
    words = [full.rpartition(".")[2] for full in read]
    near = difflib.get_close_matches(key, words, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"{agent_name} has no setting {key!r}{hint}")


def _named(key: str, keys: list[str]) -> list[str]:
    return [full for full in keys if key in (full, full.rpartition(".")[2])]


def _refuse(agent_name: str, key: str, full: str) -> None:
    """For a key that exists and does nothing for this agent."""
    if full not in LENGTHS:
        check_settings(base_config(), [full], agent_name)
    where = next(place for start, place in ELSEWHERE.items() if full.startswith(start))
    raise ValueError(f"{key} is not a setting of {agent_name}: {where}")


def train(
    agent: Agent,
    world: Simulator,
    *,
    seeds: jax.Array,
    pretrain_updates: int | None = None,
    q_learning_updates: int | None = None,
    validation: np.ndarray | None = None,
    select: str | None = None,
    validate_every: int | None = None,
    **former: int,
) -> Trained:
    """Trains every seed of seeds [S] side by side, in one program per phase.

    First pretrain_updates supervised updates, then q_learning_updates of Q-learning
    (None: as in the default config). An agent that does not learn comes back as it is.

    validation: users [V], such as `dataset.split.validation`. The agent is evaluated on
    them every validate_every updates (None: as in the default config), and the
    parameters are selected by their answers just as `dlerse train` selects them; select
    is its `evaluation.select`: "best" (None), "any_phase" or "last". Without validation
    users nothing is selected: the last parameters are kept.

    ValueError where the agent was made for another horizon or miss reward than the
    world's, for a negative number, for seeds or users that are none, and for no
    validation users where select asks them.
    """
    check_lengths(former, pretrain_updates, q_learning_updates, validate_every)
    check_fits(agent, world)
    updates = dict(zip(PHASES, (pretrain_updates, q_learning_updates), strict=True))
    lengths = {phase: _length(agent, phase, n) for phase, n in updates.items()}
    selection = Selection(
        select=_select(select, validation),
        pretrain_updates=lengths["pretrain"],
        q_learning_updates=lengths["q_learning"],
        alpha=float(world.alpha),
    )
    roots = seed_keys(checked_seeds(seeds))
    states, history = init_states(agent, roots), []
    best = start_best(agent, states, len(roots), selection.select)
    evaluate = _validator(agent, world, validation, roots)
    every = validate_every or base_config().evaluation.every

    def begin_phase(states: State, done: int) -> State:
        return handed_over(agent, selection, best, states, done)

    chunks = _chunks(agent, world, states, roots, lengths, every, begin_phase)
    for states, update, measured in chunks:
        if validation is not None and selection.is_due(update, every):
            best, logged = validate(agent, selection, best, states, update, evaluate)
            measured = measured | logged
        history.append(measured)
    places = selected_places(selection, best, len(roots))
    return Trained(
        agent=agent,
        states=with_best(agent, states, best),
        roots=roots,
        history=tuple(history),
        selected=None if places is None else tuple(places),
    )


def _length(agent: Agent, phase: str, updates: int | None) -> int:
    """Updates of a phase; an agent without it makes none."""
    if getattr(agent, phase) is None:
        return 0
    return base_config()[phase].num_updates if updates is None else updates


def _select(select: str | None, validation: np.ndarray | None) -> str:
    if validation is None and select not in (None, "last"):
        raise ValueError(
            f"select={select!r} needs validation users, for example "
            "validation=dataset.split.validation"
        )
    if validation is not None and len(validation) == 0:
        raise ValueError(
            "validation is empty; leave it out, and the last parameters are kept"
        )
    return select or ("last" if validation is None else "best")


def _validator(
    agent: Agent, world: Simulator, validation: np.ndarray | None, roots: jax.Array
) -> Evaluate:
    """Evaluates states on those who select; compiled at its first call."""
    rollout = greedy_rollout(agent)
    users = np.zeros(0, np.int32)
    if validation is not None:
        users = checked_users(validation, world.num_users, "validation users")

    def play(states: State, users: np.ndarray) -> Result:
        return episodes_result(
            evaluate_users(rollout, states, world, users, roots, agent_name=agent.name)
        )

    def evaluate(states: State) -> list[Result]:
        return [play(*panel) for panel in asked(agent, states, users, are_new=True)]

    return evaluate


def _chunks(
    agent: Agent,
    world: Simulator,
    states: Any,
    roots: jax.Array,
    lengths: dict[str, int],
    every: int,
    begin_phase: Callable[[State, int], State],
) -> Iterator[tuple[State, int, dict[str, Any]]]:
    """All updates, some at a time -> states, updates done, and what was measured.

    A chunk ends where a validation is due, every so many updates of both phases.
    begin_phase(states, updates done) -> the states that a phase starts with.
    """
    done = 0
    for phase, total in lengths.items():
        programs, first = {}, 0
        states = begin_phase(states, done)
        while first < total:
            size = min(CHUNK, total - first, every - (done + first) % every)
            if size not in programs:
                programs[size] = train_chunk(agent, phase, size)
            states, measured = programs[size](states, world, roots, first, total)
            first += size
            yield states, done + first, jax.device_get(measured)
        done += total


def train_and_evaluate(
    config: ConfigDict, workdir: str | Path, *, quiet: bool = False
) -> dict:
    """Trains, or goes on training, and evaluates on the test users -> the summary.

    Leaves config.json, metrics.jsonl, checkpoints, evaluation.npz, baselines/*.npz and
    summary.json in workdir, where ~ is the home directory, as `dlerse train` does.
    ValueError, before any compile, for anything wrong in the config, a key among them
    that was changed and does nothing for its agent.
    """
    check_changed(config)
    return runner.train_and_evaluate(config, workdir, quiet=quiet)


def evaluate(trained: Trained, world: Simulator, users: np.ndarray) -> Evaluation:
    """Greedy episodes of users [B]: one row per user and seed, feedback [S, B, T].

    `summarize` and `user_metrics` turn it into numbers with intervals. ValueError as of
    `train` where the agent was made for another world, and for users that it lacks.
    """
    check_fits(trained.agent, world)
    users = checked_users(users, world.num_users, "users")
    return evaluate_users(
        greedy_rollout(trained.agent),
        trained.states,
        world,
        users,
        trained.roots,
        agent_name=trained.agent.name,
    )
