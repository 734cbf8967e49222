"""DLERSE in JAX: cold-start recommendation from a new user's social network."""

from dlerse_jax.api import (
    TunedSettings,
    evaluate,
    make_agent,
    train,
    train_and_evaluate,
    tuned_settings,
)
from dlerse_jax.data import (
    TableLayout,
    dataset_statistics,
    fetch_dataset,
    load_dataset,
    synthetic_dataset,
)
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.summary import results_table, summarize, user_metrics
from dlerse_jax.serving.questions import Recommendation
from dlerse_jax.serving.recommender import Recommender
from dlerse_jax.serving.session import Session
from dlerse_jax.serving.trained import Trained, load
from dlerse_jax.types import Agent, Dataset, Evaluation

__all__ = [
    "Agent",
    "Dataset",
    "Evaluation",
    "Recommendation",
    "Recommender",
    "Session",
    "TableLayout",
    "Trained",
    "TunedSettings",
    "base_config",
    "dataset_statistics",
    "evaluate",
    "fetch_dataset",
    "load",
    "load_dataset",
    "make_agent",
    "make_simulator",
    "results_table",
    "summarize",
    "synthetic_dataset",
    "train",
    "train_and_evaluate",
    "tuned_settings",
    "user_metrics",
]
