"""Early stopping: what validation users liked best is evaluated, seed by seed."""

from types import SimpleNamespace

import numpy as np
import pytest
from flax import struct
from tiny import tiny_config

from dlerse_jax.experiment.early_stopping import start_best, update_best, with_best
from dlerse_jax.experiment.runner import train_and_evaluate

AGENT = SimpleNamespace(served="weights")


@struct.dataclass
class State:
    weights: np.ndarray
    step: int = 0


def states(*weights):
    return State(np.array(weights, np.float32)[:, None])


def test_each_seed_keeps_what_it_had_at_its_best():
    best = start_best(AGENT, states(0, 0, 0), 3, "best")
    looks = [(0, (0.3, 0.3, 0.3)), (20, (0.4, 0.2, 0.3)), (40, (0.1, 0.2, 0.5))]
    for step, score in looks:
        now = states(step, step + 1, step + 2)
        best = update_best(AGENT, best, now, np.array(score), step)
    assert best.step.tolist() == [20, 0, 40]
    assert np.allclose(best.score, [0.4, 0.3, 0.5])
    assert with_best(AGENT, now, best).weights.tolist() == [[20], [1], [42]]


def test_what_nobody_has_looked_at_gives_way():
    best = start_best(AGENT, states(5), 1, "best")
    best = update_best(AGENT, best, states(6), np.array([0.0]), 20)
    assert best.params.tolist() == [[6]] and best.score.tolist() == [0]


@pytest.mark.usefixtures("one_program")
def test_training_that_does_harm_ends_where_it_began(tmp_path):
    def result(keep, num_updates):
        config = tiny_config()
        config.evaluation.keep = keep
        config.evaluation.every = 2
        config.pretrain.learning_rate = 0.3
        config.optimizer.average_step = 1.0
        config.pretrain.num_updates, config.q_learning.num_updates = num_updates, 0
        folder = tmp_path / f"{keep}{num_updates}"
        return train_and_evaluate(config, folder, quiet=True)

    best, last, start = result("best", 4), result("last", 4), result("best", 0)
    assert best["best_at"] == [0] and last["best_at"] is None
    assert best["summary"] == start["summary"] != last["summary"]


@pytest.mark.parametrize(
    ("key", "word", "message"),
    [
        ("keep", "first", "evaluation.keep is 'first', expected best or last"),
        ("seeds", "both", "evaluation.seeds is 'both', expected apart or together"),
        ("seeds", "ensemble", "together needs two seeds or more, num_seeds is 1"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_written(
    key, word, message, tmp_path
):
    config = tiny_config()
    config.evaluation[key] = word
    with pytest.raises(ValueError, match=message):
        train_and_evaluate(config, tmp_path, quiet=True)
    assert not (tmp_path / "config.json").exists()
