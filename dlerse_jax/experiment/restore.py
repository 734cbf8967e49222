"""A finished or stopped run, back in memory: its agent, parameters and data set."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from dlerse_jax.data.storage import read_dataset
from dlerse_jax.experiment.build import build_agent, build_dataset, build_task
from dlerse_jax.types import Agent, Dataset

DATASET_NAME = "dataset.npz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """A trained agent: states play with the parameters that were selected."""

    agent: Agent
    states: Any  # [S, ...] as `Agent.seed_axes` says
    dataset: Dataset  # what the agent was made of
    num_seeds: int

    def state_of(self, seed: int) -> Any:
        """One seed's state, without the axis of seeds."""

        def take(axis, part):
            if axis is None:
                return part
            return jax.tree.map(lambda leaf: leaf[seed], part)

        axes = self.agent.seed_axes
        return jax.tree.map(take, axes, self.states, is_leaf=lambda axis: axis is None)
