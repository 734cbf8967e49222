"""Evaluates an agent on a task: numbers by user, for all protocols.

`make_evaluator` gives a function from states to a `Result`. This is the one place that
knows both kinds of protocol, episodes and rankings.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dlerse_jax.environment.simulator import Simulator, likes_table
from dlerse_jax.evaluation.episodes import (
    batch_inputs,
    cells_per_user,
    evaluate_users,
    greedy_rollout,
)
from dlerse_jax.evaluation.protocols import Task
from dlerse_jax.evaluation.ranking import first_scores, rank_users, ranked_batches
from dlerse_jax.evaluation.summary import summarize, summarize_metrics, user_metrics
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.beside import Once
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A function (states, world, users [B], roots [S]) -> Result.

    It serves every state and world of one agent, and is compiled when it first meets
    the shapes of its arguments, in `prepare` or in a call.
    """

    evaluate: Callable[[State, Simulator, np.ndarray, jax.Array], Result]
    # The same arguments, of which shapes are enough; nothing is played.
    prepare: Callable[[State, Simulator, np.ndarray, jax.Array], object]

    def __call__(
        self, states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> Result:
        return self.evaluate(states, world, users, roots)


def make_evaluator(agent: Agent, task: Task, identity: str = "") -> Evaluator:
    """How an agent does on a task, and how that is compiled ahead.

    The agent must have been built on `task.known`; world is the world of those likes,
    and the task's answers take their place in it. identity tells this agent from every
    other one, in this process and in all others; without it nothing is compiled ahead.
    """
    likes = likes_table(task.answers)
    make = _rankings if task.is_ranking else _episodes
    evaluate, prepare = make(agent, task, identity)

    def with_answers(function: Callable) -> Callable:
        def of_answers(
            states: State, world: Simulator, users: np.ndarray, roots: jax.Array
        ) -> Any:
            answers, roots = sharding.place(world.mesh, (likes, roots))
            return function(states, world.replace(likes=answers), users, roots)

        return of_answers

    return Evaluator(evaluate=with_answers(evaluate), prepare=with_answers(prepare))


def _episodes(agent: Agent, task: Task, identity: str) -> tuple[Callable, Callable]:
    play = greedy_rollout(agent, identity and f"episodes {identity}")
    found_cells = Once()  # the same for every state, and slow to find: all is traced

    def options(
        states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> dict[str, Any]:
        return {
            "candidates": task.candidates(users),
            "history": task.history(users),
            "cells": found_cells(
                "cells", lambda: cells_per_user(agent, states, world, roots)
            ),
        }

    def evaluate(
        states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> Result:
        inputs = states, world, users, roots
        named = {"agent_name": agent.name, "protocol": task.protocol}
        return episodes_result(
            evaluate_users(play, *inputs, **(named | options(*inputs)))
        )

    def prepare(
        states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> None:
        inputs = states, world, users, roots
        play.prepare(*next(batch_inputs(*inputs, **options(*inputs))))

    return evaluate, prepare


def _rankings(agent: Agent, task: Task, identity: str) -> tuple[Callable, Callable]:
    rank = first_scores(agent, identity and f"ranking {identity}")

    def evaluate(
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

    def prepare(
        states: State, world: Simulator, users: np.ndarray, roots: jax.Array
    ) -> None:
        history = task.history(users)
        rank.prepare(*next(ranked_batches(states, world, users, roots, history)))

    return evaluate, prepare
