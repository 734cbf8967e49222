"""`Trained`: an agent and what it learned; saved, loaded, copied, pickled and asked."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.data.storage import known_part
from dlerse_jax.data.summary import dataset_digest
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.build import Source, build_agent
from dlerse_jax.experiment.restore import Restored, restore_trained
from dlerse_jax.experiment.sweep import changed_config
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.dataset_file import keep_dataset
from dlerse_jax.runs.directory import flat_items, run_identity, write_config
from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.serving.recommender import Recommender
from dlerse_jax.types import Agent, State

ABOUT_NAME = "trained.json"  # beside config.json: keys and history, from Python


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Trained:
    """An agent and its states, one per seed; `history`: mean metrics by chunk.

    It can be copied and pickled where `make_agent` or a run directory made its agent.
    """

    agent: Agent
    states: State  # with the parameters that were selected
    roots: jax.Array  # [S] keys
    history: tuple[dict[str, Any], ...]  # each metric [S]; of validations, a mean
    selected: tuple[dict, ...] | None  # {phase, update} of each seed; None: untrained

    def __repr__(self) -> str:
        seeds, chunks = len(self.roots), len(self.history)
        return f"Trained({self.agent.name!r}: {seeds} seeds, {chunks} training chunks)"

    def recommender(self, *, seed: int = 0) -> Recommender:
        """The agent of one of the seeds, from 0 on, that can be asked."""
        return Recommender(self._restored(), seed=seed)

    def save(self, directory: str | Path) -> None:
        """Writes the agent, what it learned and the ids and titles of its data.

        The directory has the form of a run's, and is read by `load`,
        `Recommender.load`, `dlerse recommend` and the like, without the data files.
        ValueError where it holds anything already, or of `source`.
        """
        directory, source = Path(directory).expanduser(), self.source
        _check_empty(directory)
        digest, config = dataset_digest(source.dataset), self._config()
        write_config(directory, config, data_digest=digest)
        keep_dataset([directory], source.dataset, digest)
        write_atomically(directory / ABOUT_NAME, json.dumps(self._about()).encode())
        checkpoint.save(
            directory,
            max((place["update"] for place in self.selected or ()), default=0),
            (self.states, None),
            (self.agent.seed_axes, 0),
            identity=run_identity(config, digest),
        )

    @property
    def source(self) -> Source:
        """What the agent was made of; ValueError for an agent made by hand."""
        if self.agent.source is None:
            raise ValueError(
                f"{self.agent.name} was not made by make_agent, so what it is made of "
                "is not known: make it anew where it is needed, and keep `states` alone"
            )
        return self.agent.source

    def _config(self) -> dict[str, Any]:
        """The config that makes the agent, of a run whose last states are these."""
        changes = {
            "num_seeds": len(self.roots),
            "evaluation.select": "last",
            "data.name": self.source.dataset.name,
            "tune": False,  # its numbers are those it was made of
        }
        config = {**dict(flat_items(self.source.config)), **changes}
        return changed_config(base_config(), config).to_dict()

    def _about(self) -> dict[str, Any]:
        return {
            "keys": np.asarray(jax.random.key_data(self.roots)).tolist(),
            "history": [
                {name: np.asarray(x).tolist() for name, x in each.items()}
                for each in self.history
            ],
            "selected": self.selected,
        }

    def _restored(self) -> Restored:
        return Restored(
            agent=self.agent,
            states=self.states,
            roots=self.roots,
            dataset=known_part(self.source.dataset),
            selected=self.selected,
        )

    def __copy__(self) -> "Trained":
        return dataclasses.replace(self)

    def __deepcopy__(self, memo: dict) -> "Trained":
        """Agents and arrays never change: what is new is all that holds them."""
        return dataclasses.replace(self, history=tuple(map(dict, self.history)))

    def __reduce__(self) -> tuple:
        source = self.source
        parts = {
            "config": source.config,
            "dataset": known_part(source.dataset),
            "leaves": [_host(leaf) for leaf in jax.tree.leaves(self.states)],
            "about": self._about(),
        }
        return _unpickled, (parts,)


def load(directory: str | Path) -> Trained:
    """What `Trained.save` or `dlerse train` left in a directory.

    FileNotFoundError where there is none; ValueError where it is damaged or holds
    files of different runs. The history of a run directory is in its metrics.jsonl.
    """
    directory = Path(directory).expanduser()
    restored = restore_trained(directory)
    path = directory / ABOUT_NAME
    if not path.exists():
        return Trained(
            agent=restored.agent,
            states=restored.states,
            roots=restored.roots,
            history=(),
            selected=restored.selected,
        )
    try:
        about = json.loads(path.read_bytes())
        return _trained(restored.agent, restored.states, about)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path} is not what was written ({str(error)[:200]}); save it again, or "
            "remove that file alone"
        ) from error


def _trained(agent: Agent, states: State, about: Mapping[str, Any]) -> Trained:
    return Trained(
        agent=agent,
        states=states,
        roots=jax.random.wrap_key_data(jnp.array(about["keys"], jnp.uint32)),
        history=tuple(
            {name: np.float32(x) for name, x in each.items()}
            for each in about["history"]
        ),
        selected=about["selected"] and tuple(about["selected"]),
    )


def _unpickled(parts: Mapping[str, Any]) -> Trained:
    config = changed_config(base_config(), dict(flat_items(parts["config"])))
    agent = build_agent(config, parts["dataset"])
    like = jax.eval_shape(agent.init, jax.random.key(0))
    leaves = [_device(*leaf) for leaf in parts["leaves"]]
    states = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return _trained(agent, states, parts["about"])


def _host(leaf: jax.Array) -> tuple[np.ndarray, str]:
    """An array and, for keys, what kind they are."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf)), str(jax.random.key_impl(leaf))
    return np.asarray(leaf), ""


def _device(array: np.ndarray, kind: str) -> jax.Array:
    if kind:
        return jax.random.wrap_key_data(jnp.asarray(array), impl=kind)
    return jnp.asarray(array)


def _check_empty(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(
            f"{directory} holds something already, which is left alone; name a folder "
            "that is new or empty"
        )
