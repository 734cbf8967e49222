"""Evaluates an agent on a task: numbers by user, for all protocols.

`make_evaluator` gives a function from states to a `Result`. This is the one place that
knows both kinds of protocol, episodes and rankings.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from dlerse_jax.environment.simulator import Simulator, likes_table
from dlerse_jax.evaluation.episodes import (
    cells_per_user,
    evaluate_users,
    greedy_rollout,
)
from dlerse_jax.evaluation.protocols import Task
from dlerse_jax.evaluation.ranking import first_scores, rank_users
from dlerse_jax.evaluation.summary import summarize, summarize_metrics, user_metrics
from dlerse_jax.runtime import sharding
from dlerse_jax.types import Agent, Evaluation, State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How one agent did: one number per seed and user."""

    agent: str  # its name
    metrics: dict[str, np.ndarray]  # name -> [S, B]
    evaluation: Evaluation | None  # what was shown and answered; None for a ranking
    num_decisions: int  # recommendations, or rankings

    def summary(self) -> dict:
        """The metrics with their intervals, as summary.json holds them."""
        if self.evaluation is None:
            return summarize_metrics([self.metrics])
        return summarize(self.evaluation)


def episodes_result(evaluation: Evaluation) -> Result:
    """The result of episodes that were played."""
    return Result(
        agent=evaluation.agent,
        metrics=user_metrics(evaluation),
        evaluation=evaluation,
        num_decisions=evaluation.items.size,
    )


# (states, world, users [B], roots [S]) -> Result
Evaluator = Callable[[object, Simulator, np.ndarray, jax.Array], Result]


def make_evaluator(agent: Agent, task: Task) -> Evaluator:
    """A function (states, world, users [B], roots [S]) -> Result.

    It is compiled at its first call and serves every state and world of this agent.
    The agent must have been built on `task.known`; world is the world of those likes,
    and the task's answers take their place in it.
    """
    likes = likes_table(task.answers)
    make = _rankings if task.is_ranking else _episodes
    evaluator = make(agent, task)

    def evaluate_answers(
        states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> Result:
        answers, roots = sharding.place(world.mesh, (likes, roots))
        return evaluator(states, world.replace(likes=answers), users, roots)

    return evaluate_answers


def _episodes(agent: Agent, task: Task) -> Evaluator:
    play = greedy_rollout(agent)
    cells: int | None = None

    def evaluator(
        states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> Result:
        nonlocal cells  # the same for every state, and slow to find: all is traced
        cells = cells or cells_per_user(agent, states, world, roots)
        evaluation = evaluate_users(
            play,
            states,
            world,
            users,
            roots,
            agent_name=agent.name,
            protocol=task.protocol,
            candidates=task.candidates(users),
            history=task.history(users),
            cells=cells,
        )
        return episodes_result(evaluation)

    return evaluator


def _rankings(agent: Agent, task: Task) -> Evaluator:
    rank = first_scores(agent)

    def evaluator(
        states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> Result:
        history = task.history(users)
        metrics = rank_users(
            rank, states, world, task.answers, users, roots, history=history
        )
        return Result(
            agent=agent.name,
            metrics=metrics,
            evaluation=None,
            num_decisions=len(roots) * len(users),
        )

    return evaluator
