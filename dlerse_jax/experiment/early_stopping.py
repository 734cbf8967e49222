"""Early stopping: the parameters that were best on users who were not learned from.

A run has two phases, and it is the last one that counts. Where Q-learning ran, only
validations after its first update compete, by mean reward under the run's own alpha;
where it did not run, those of pre-training do, its start included, by precision.
Q-learning begins with the best of pre-training, its start included, by precision.
`dlerse train` and `dlerse_jax.train` both select through `validate`.

Asked are the validation users and, where these are few, training users whom the agent
does not learn from (`Agent.held_out`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlerse_jax.evaluation.evaluator import Result
from dlerse_jax.evaluation.metrics import mean_reward
from dlerse_jax.evaluation.summary import longest_precision
from dlerse_jax.evaluation.variance_components import known_mean
from dlerse_jax.runtime import sharding
from dlerse_jax.types import Agent

SELECT = ("best", "any_phase", "last")


def check_select(word: str) -> None:
    """ValueError where `evaluation.select` is none of SELECT."""
    if word not in SELECT:
        raise ValueError(
            f"evaluation.select is {word!r}, expected one of {', '.join(SELECT)}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which validations of a run compete, and by which number.

    Updates are counted over both phases, as in the log. A validation after the last
    update of pre-training is of pre-training.
    """

    select: str  # a word of SELECT
    pretrain_updates: int
    q_learning_updates: int
    alpha: float  # of the run's own reward

    def __post_init__(self):
        check_select(self.select)

    def competes(self, update: int) -> bool:
        """Whether what the run has after this many updates may be selected."""
        every_phase = self.select == "any_phase" or not self.q_learning_updates
        return every_phase or update > self.pretrain_updates

    @property
    def hands_over(self) -> bool:
        """Whether Q-learning begins with what pre-training's validations chose."""
        phases = self.pretrain_updates and self.q_learning_updates
        return self.select != "last" and bool(phases)

    def is_judged(self, update: int) -> bool:
        """Whether a validation is compared with others of its phase, or of the run."""
        in_pretraining = update <= self.pretrain_updates
        return self.competes(update) or (self.hands_over and in_pretraining)

    def place(self, update: int) -> dict[str, object]:
        """Phase and update, as summary.json names what each seed is evaluated with."""
        phase = "q_learning" if update > self.pretrain_updates else "pretrain"
        return {"phase": phase if update else "start", "update": update}

    def is_due(self, update: int, every: int) -> bool:
        """Whether to validate now: every so often, and where a phase ends."""
        total = self.pretrain_updates + self.q_learning_updates
        return update % every == 0 or update in (self.pretrain_updates, total)

    def score(self, results: Sequence[Result], update: int) -> np.ndarray:
        """What a validation is compared by [S]: a mean over all who were asked."""
        of_users = self.objective if self.competes(update) else _precision
        return known_mean(
            np.concatenate([of_users(result)[1] for result in results], axis=1), axis=1
        )

    def objective(self, result: Result) -> tuple[str, np.ndarray]:
        """Name and values [S, B] of what the run is selected by.

        A ranking has no rewards, so there it is precision after Q-learning too.
        """
        if not self.q_learning_updates or result.evaluation is None:
            return _precision(result)
        evaluation = result.evaluation
        rewards = mean_reward(
            evaluation.feedback,
            evaluation.items < evaluation.num_items,
            alpha=self.alpha,
            miss_reward=evaluation.miss_reward,
        )
        return f"reward_alpha_{self.alpha:g}", rewards


def _precision(result: Result) -> tuple[str, np.ndarray]:
    name = longest_precision(result.metrics)
    return name, result.metrics[name]


@struct.dataclass(kw_only=True)
class BestCheckpoint:
    """What a run would be evaluated with if it ended now."""

    params: Any  # the agent's `served` field, [S, ...] a leaf
    score: jax.Array  # [S] of those who were asked; nan before the first validation
    precision: jax.Array  # [S] of validation users, whatever the objective
    update: jax.Array  # [S] int32: updates done by then


def start_best(
    agent: Agent, states, num_seeds: int, select: str
) -> BestCheckpoint | None:
    """The parameters of fresh states, before any validation; None for select "last".

    A copy of them: training gives the states' own memory away.
    """
    if select == "last" or not agent.served:
        return None
    nothing = np.full(num_seeds, np.nan, np.float32)
    return BestCheckpoint(
        params=jax.tree.map(_copy, getattr(states, agent.served)),
        score=sharding.device_copy(nothing),
        precision=sharding.device_copy(nothing),
        update=sharding.device_copy(np.zeros(num_seeds, np.int32)),
    )


def best_shapes(
    agent: Agent, shapes, num_seeds: int, select: str
) -> BestCheckpoint | None:
    """What `start_best` returns, as `jax.ShapeDtypeStruct`; shapes of the states."""
    if select == "last" or not agent.served:
        return None
    number: Any = jax.ShapeDtypeStruct((num_seeds,), jnp.float32)
    count: Any = jax.ShapeDtypeStruct((num_seeds,), jnp.int32)
    return BestCheckpoint(
        params=getattr(shapes, agent.served),
        score=number,
        precision=number,
        update=count,
    )


def _copy(leaf: jax.Array) -> jax.Array:
    return sharding.device_copy(np.asarray(leaf))


# states -> what validation users did, and after it what held-out training users did.
Evaluate = Callable[[Any], Sequence[Result]]


def asked(
    agent: Agent, states, validation: np.ndarray, *, are_new: bool
) -> list[tuple[Any, np.ndarray]]:
    """Whose answers select, and the states that play them.

    Validation users, and the training users whom the agent does not learn from: these
    only where users are played as new ones (are_new), which they can be made.
    """
    panels = [(states, validation)]
    if are_new and agent.held_out is not None:
        panels.append(agent.held_out(states))
    return panels


def validate(
    agent: Agent,
    selection: Selection,
    best: BestCheckpoint | None,
    states,
    update: int,
    evaluate: Evaluate,
) -> tuple[BestCheckpoint | None, dict[str, float]]:
    """One validation -> the best checkpoint after it, and numbers for the log.

    The start is evaluated at the first validation after training began, where it is
    judged. `eval/` numbers are of the states, `best/` numbers of what is selected; they
    are of validation users, but for a reward that is selected by: of all who are asked.
    """
    results = evaluate(states)
    validation = results[0]
    name, values = selection.objective(validation)
    logged = {f"eval/{key}": _mean(x) for key, x in validation.metrics.items()}
    logged[f"eval/{name}"] = _mean(values)
    if best is None:
        return None, logged
    if update > selection.pretrain_updates and not selection.competes(0):
        best = _without_pretraining(selection, best)
    elif update and selection.is_judged(0) and np.isnan(best.score).any():
        start = with_best(agent, states, best)
        best = _after(agent, selection, best, start, 0, evaluate(start))
    if not selection.is_judged(update):
        return best, logged
    best = _after(agent, selection, best, states, update, results)
    if not selection.competes(update):
        return best, logged
    logged[f"best/{name}"] = float(best.score.mean())
    precision = longest_precision(validation.metrics)
    return best, logged | {f"best/{precision}": float(best.precision.mean())}


def _mean(values: np.ndarray) -> float:
    """Over seeds and users; nan where nobody has a number, as of streaks of dislikes
    where everything is liked."""
    return float(known_mean(np.ravel(values), 0))


def _after(agent, selection, best, states, update: int, results: Sequence[Result]):
    score, precision = selection.score(results, update), _precision(results[0])[1]
    return update_best(agent, best, states, score, precision.mean(axis=1), update)


def _without_pretraining(selection: Selection, best: BestCheckpoint) -> BestCheckpoint:
    """Seeds whose best is of pre-training have none yet; its parameters stay."""
    is_of_before = best.update <= selection.pretrain_updates
    return best.replace(score=jnp.where(is_of_before, jnp.nan, best.score))


def handed_over(
    agent: Agent, selection: Selection, best: BestCheckpoint | None, states, update: int
):
    """The states that the next update is made of, after so many.

    Before the first of Q-learning each seed goes back to where pre-training was best,
    where the agent can (`Agent.go_on_from`); all else are the states as they are.
    """
    is_due = selection.hands_over and update == selection.pretrain_updates
    if not is_due or best is None or agent.go_on_from is None:
        return states
    return agent.go_on_from(states, best.params)


def update_best(
    agent: Agent,
    best: BestCheckpoint,
    states,
    score: np.ndarray,
    precision: np.ndarray,
    update: int,
) -> BestCheckpoint:
    """After states that gave score [S]: seeds that rose have these parameters."""
    params = getattr(states, agent.served)
    return _update_best(
        best, params, jnp.float32(score), jnp.float32(precision), update
    )


@jax.jit
def _update_best(best: BestCheckpoint, params, score, precision, update):
    # Anything is better than nan, and nan is better than no number.
    rose = (score > best.score) | jnp.isnan(best.score)

    def choose(new, old):
        return jnp.where(rose.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    new = BestCheckpoint(
        params=params,
        score=score,
        precision=precision,
        update=jnp.full_like(best.update, update),
    )
    return jax.tree.map(choose, new, best)


def with_best(agent: Agent, states, best: BestCheckpoint | None):
    """The states, playing with the best checkpoint's parameters where there is one."""
    return states if best is None else states.replace(**{agent.served: best.params})


def selected_places(
    selection: Selection, best: BestCheckpoint | None, num_seeds: int
) -> list[dict] | None:
    """Phase and update that each seed [S] is evaluated at; None for no training."""
    last = selection.pretrain_updates + selection.q_learning_updates
    if best is None:
        return [selection.place(last)] * num_seeds if last else None
    return [selection.place(update) for update in jax.device_get(best.update).tolist()]
