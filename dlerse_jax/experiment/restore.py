"""A run directory, back in memory: its agent, what it learned, and its data set.

Neither the config file nor the data files are needed. `dataset.npz` in the directory
holds what the agent was made of: everything but the feedback of validation and test
users (`dlerse_jax.data.storage`).
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dlerse_jax.agents.registry import SERVE_COLD_ITEMS
from dlerse_jax.data.features import restore_cold_items, without_cold_items
from dlerse_jax.data.storage import known_part
from dlerse_jax.data.summary import dataset_digest
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.build import build_agent, build_dataset, build_task
from dlerse_jax.experiment.checks import phase_lengths
from dlerse_jax.experiment.early_stopping import (
    Selection,
    best_shapes,
    selected_places,
    with_best,
)
from dlerse_jax.experiment.sweep import changed_config
from dlerse_jax.former_keys import BEFORE_THE_KEY
from dlerse_jax.learning.train_loop import init_states, seed_keys, state_shapes
from dlerse_jax.linear_models.cold_items import with_cold_rows
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.dataset_file import DATASET_NAME, kept_dataset
from dlerse_jax.runs.directory import (
    CONFIG_NAME,
    check_data,
    flat_items,
    made_by,
    read_settings,
)
from dlerse_jax.types import Agent, Dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """A trained agent: its states play with the parameters that were selected."""

    agent: Agent
    states: Any  # [S, ...] as `Agent.seed_axes` says
    roots: jax.Array  # [S] keys
    dataset: Dataset  # what the agent was made of, in its known part
    selected: tuple[dict, ...] | None  # {phase, update} of each seed; None: untrained

    @property
    def num_seeds(self) -> int:
        return len(self.roots)

    def state_of(self, seed: int) -> Any:
        """One seed's state, without the axis of seeds."""

        def take(axis, part):
            if axis is None:
                return part
            return jax.tree.map(lambda leaf: leaf[seed], part)

        axes = self.agent.seed_axes
        return jax.tree.map(take, axes, self.states, is_leaf=lambda axis: axis is None)


def with_cold_items(restored: Restored) -> Restored:
    """What serves the cold items of its data set too; itself where it has none.

    Nothing was learned about them: what training made of other items is predicted from
    features. Agents without item factors serve the other items alone.
    """
    agent, dataset = restored.agent, restored.dataset
    if not dataset.num_cold_items:
        return restored
    if agent.name not in SERVE_COLD_ITEMS or agent.source is None:
        return dataclasses.replace(restored, dataset=without_cold_items(dataset))
    config = changed_config(base_config(), dict(flat_items(agent.source.config)))
    serving = build_agent(config, dataset, cold_items=True)
    states = init_states(serving, restored.roots)
    if agent.served:
        learned = getattr(restored.states, agent.served)
        rows = with_cold_rows(learned, dataset, agent.item_axes)
        states = states.replace(**{agent.served: rows})
    return dataclasses.replace(restored, agent=serving, states=states)


def stored_config(directory: Path) -> ConfigDict:
    """The run's own config, with the defaults of keys that are younger than it, and of
    the devices: there may be others now. ValueError for what this version lacks."""
    settings = read_settings(directory)
    stored = flat_items(settings["config"])
    kept = {key: value for key, value in stored if not key.startswith("devices.")}
    try:
        return changed_config(base_config(), BEFORE_THE_KEY | kept)
    except ValueError as error:
        raise ValueError(
            f"{Path(directory) / CONFIG_NAME}, made by version {made_by(settings)} of "
            f"dlerse_jax, is not for this one: {error}; ask the run with that version"
        ) from error


def restore_trained(directory: str | Path, *, to_serve: bool = False) -> Restored:
    """The agent of a run directory, at its newest whole checkpoint.

    to_serve: it will not be trained on, as `build_agent` has it.

    FileNotFoundError where there is no run. ValueError where its files are damaged, are
    of different runs, or where nothing was saved yet.
    """
    directory = Path(directory).expanduser()
    _check_is_run(directory)
    digest = read_settings(directory).get("data_digest")
    config = stored_config(directory)
    dataset = _dataset(directory, config, digest)
    built = functools.partial(build_agent, config, dataset, to_serve=to_serve)
    is_saved = to_serve and checkpoint.exists(directory)
    agent = built(is_saved=is_saved)
    roots = seed_keys(config.seed + jnp.arange(config.num_seeds))
    states, selected = _states(directory, config, agent, roots, built)
    if is_saved:  # with it goes the memory of what stood for the arrays that were read
        agent = dataclasses.replace(agent, init=lambda key: built().init(key))
    return Restored(
        agent=agent, states=states, roots=roots, dataset=dataset, selected=selected
    )


def _check_is_run(directory: Path) -> None:
    """FileNotFoundError that names runs where a folder of them was meant."""
    if (directory / CONFIG_NAME).exists():
        return
    inside = sorted(directory.glob(f"*/{CONFIG_NAME}"))
    if inside:
        raise FileNotFoundError(
            f"{directory} is a folder of {len(inside)} runs: name one of them, as "
            f"{inside[0].parent}"
        )
    read_settings(directory)  # which words it


def _dataset(directory: Path, config: ConfigDict, digest: str | None) -> Dataset:
    kept = kept_dataset(directory, digest)
    if kept is not None:
        return kept
    warnings.warn(
        f"{directory} has no {DATASET_NAME}: the data set {config.data.name} is read "
        "from its files, as its config names them",
        stacklevel=4,
    )
    dataset = build_dataset(config)
    check_data(directory, dataset_digest(dataset))
    known = build_task(config, dataset).known
    return known_part(restore_cold_items(known, dataset))


def _states(
    directory: Path,
    config: ConfigDict,
    agent: Agent,
    roots: jax.Array,
    built: Callable[[], Agent],
) -> tuple[Any, tuple[dict, ...] | None]:
    """States that play with what was selected, and where each seed was selected.

    built: makes the agent with arrays that are not read, for where they are damaged.
    """
    lengths, select = phase_lengths(config), config.evaluation.select
    if not checkpoint.exists(directory) and not any(lengths.values()):
        return init_states(agent, roots), None
    shapes = state_shapes(agent, len(roots))
    found = checkpoint.restore_newest(
        directory,
        (shapes, best_shapes(agent, shapes, len(roots), select)),
        fresh=lambda: (init_states(built(), roots), None),
    )
    if found is None:
        raise ValueError(
            f"{directory}: nothing of its training is saved yet; let `dlerse train` go "
            "on with it"
        )
    step, (states, best) = found
    selection = Selection(
        select=select,
        pretrain_updates=lengths["pretrain"],
        q_learning_updates=lengths["q_learning"],
        alpha=config.reward.alpha,
    )
    if best is None:  # what it has now, which may be before its end
        places = [selection.place(step)] * len(roots)
    else:
        places = selected_places(selection, best, len(roots)) or []
    return with_best(agent, states, best), tuple(places)


def check_origin(restored: Restored) -> None:
    """ValueError where the agent was not made of the data set beside it."""
    source, dataset = restored.agent.source, restored.dataset
    if source is None or source.dataset is dataset:
        return
    if dataset_digest(known_part(source.dataset)) != dataset_digest(
        known_part(dataset)
    ):
        raise ValueError(
            f"{restored.agent.name} was made of another data set than {dataset!r}; "
            "take the one it was made of, as agent.source.dataset"
        )
