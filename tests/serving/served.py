"""Finished runs of a tiny world, made once a test session, and their recommenders."""

import fcntl
import functools
import os
import tempfile
from pathlib import Path

from tiny import tiny_config

from dlerse_jax.experiment.runner import train_and_evaluate
from dlerse_jax.serving.recommender import Recommender

# In one phase each, for each compiles for seconds: the last that the agent has, so that
# what it starts with is not selected. Others play with what they start with.
PRETRAINED = ("dlerse_rank", "bpr")
Q_TRAINED = ("dlerse_con", "dlerse_rank order", "dlerse_rank answers")


def served_config(agent: str):
    """Of an agent by its name; `dlerse_rank order` learns an order too, and
    `dlerse_rank answers` numbers of each item."""
    config = tiny_config()
    config.pretrain.num_updates = 2 if agent in PRETRAINED else 0
    config.q_learning.num_updates = 2 if agent in Q_TRAINED else 0
    agent, _, learns = agent.partition(" ")
    config.agent.name, config.rank.q_learning = agent, bool(learns)
    config.rank.answer_rank = 2 if learns == "answers" else 0
    config.evaluation.baselines = ()
    config.num_seeds = 2 if agent in ("dlerse_con", "dlerse_rank") else 1
    config.evaluation.every = 2
    config.rank.candidates, config.rank.folds = 8, 2
    return config


@functools.cache
def _runs() -> Path:
    """Where they are: one folder for all workers of pytest-xdist."""
    if session := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        folder = Path(tempfile.gettempdir()) / f"dlerse_served_{session}"
        folder.mkdir(exist_ok=True)
        return folder
    return Path(tempfile.mkdtemp(prefix="dlerse_served_"))


@functools.cache
def finished_run(agent: str) -> Path:
    """A run directory, made by whichever worker asks first."""
    folder = _runs() / agent
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "summary.json").exists():
            train_and_evaluate(served_config(agent), folder, quiet=True)
    return folder


@functools.lru_cache(3)  # each holds its compiled programs
def served(agent: str, seed: int = 0) -> Recommender:
    return Recommender.load(finished_run(agent), seed=seed)
