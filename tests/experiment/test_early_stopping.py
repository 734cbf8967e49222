"""Early stopping: which validations compete, by what, and whom they ask."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from flax import struct
from tiny import config_of_two_seeds, tiny_config

from dlerse_jax.evaluation.evaluator import Result
from dlerse_jax.evaluation.summary import user_metrics
from dlerse_jax.experiment import early_stopping, training_run
from dlerse_jax.experiment.early_stopping import (
    Selection,
    asked,
    handed_over,
    selected_places,
    start_best,
    update_best,
    validate,
    with_best,
)
from dlerse_jax.experiment.runner import build_run, train_and_evaluate
from dlerse_jax.runs.log import read_metrics
from dlerse_jax.types import Evaluation

AGENT = SimpleNamespace(served="weights", held_out=None)


@struct.dataclass
class State:
    weights: np.ndarray
    step: int = 0


def states(*weights):
    return State(np.array(weights, np.float32)[:, None])


def selection_of(select="best", pretrain=4, q_learning=4, alpha=0.0):
    return Selection(
        select=select,
        pretrain_updates=pretrain,
        q_learning_updates=q_learning,
        alpha=alpha,
    )


def answered(*feedback):
    """What validation users did: a row of 0 and 1 a seed, one user each."""
    feedback = np.array(feedback, np.uint8)[:, None]
    evaluation = Evaluation(
        agent="any",
        protocol="cold",
        users=np.zeros(1, np.int32),
        items=np.zeros(feedback.shape, np.int32),
        feedback=feedback,
        num_likes=np.ones(1),
        num_friends=np.ones(1),
        num_items=9,
        miss_reward=-1.0,
    )
    metrics = user_metrics(evaluation)
    return Result(agent="any", metrics=metrics, evaluation=evaluation, num_decisions=0)


# --- which validations compete


@pytest.mark.parametrize(
    ("select", "lengths", "updates"),
    [
        ("best", (4, 4), [6, 8]),  # that after the last update of a phase is of it
        ("best", (4, 0), [0, 2, 4]),
        ("best", (0, 4), [2, 4]),
        ("best", (0, 0), [0]),
        ("any_phase", (4, 4), [0, 2, 4, 6, 8]),
        ("any_phase", (0, 4), [0, 2, 4]),
    ],
)
def test_the_last_phase_that_ran_competes_with_itself(select, lengths, updates):
    selection = selection_of(select, *lengths)
    asked = range(0, sum(lengths) + 1, 2)
    assert [update for update in asked if selection.competes(update)] == updates


def test_a_phase_ends_with_a_validation():
    selection = selection_of(pretrain=5, q_learning=5)
    due = [update for update in range(1, 11) if selection.is_due(update, 4)]
    assert due == [4, 5, 8, 10]


def test_an_update_is_named_by_its_phase():
    selection = selection_of()
    phases = [selection.place(update)["phase"] for update in (0, 2, 4, 5, 8)]
    assert phases == ["start", "pretrain", "pretrain", "q_learning", "q_learning"]
    assert selection.place(5)["update"] == 5


def test_the_objective_is_the_runs_own():
    """Four likes in a row and then four dislikes against likes by turns."""
    result = answered([1, 1, 1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0])
    by_alpha = {
        alpha: selection_of(alpha=alpha).objective(result) for alpha in (0.0, 0.2)
    }
    assert by_alpha[0.0][0] == "reward_alpha_0" and by_alpha[0.2][0].endswith("0.2")
    assert by_alpha[0.0][1].tolist() == [[0], [0]]
    # c_p - c_n before each step: 0 1 2 3 4 -1 -2 -3 and 0 1 -1 1 -1 1 -1 1.
    assert np.allclose(by_alpha[0.2][1], [[0.2 * 4 / 8], [0.2 * 1 / 8]])
    name, precision = selection_of(q_learning=0, alpha=0.2).objective(result)
    assert name == "precision_at_8" and precision.tolist() == [[0.5], [0.5]]
    # Pre-training is compared by precision wherever Q-learning follows.
    scores = [selection_of(alpha=0.2).score([result], update) for update in (4, 5)]
    assert np.allclose(scores, [[0.5, 0.5], [0.1, 0.025]])


def test_users_without_a_number_do_not_count():
    metrics = {"precision_at_8": np.array([[np.nan, 0.5]])}
    result = Result(agent="any", metrics=metrics, evaluation=None, num_decisions=0)
    assert selection_of(q_learning=0).score([result], 4).tolist() == [0.5]


def test_each_seed_has_what_it_had_at_its_best():
    best = start_best(AGENT, states(0, 0, 0), 3, "best")
    scores = [(0, (0.3, 0.3, 0.3)), (20, (0.4, 0.2, 0.3)), (40, (0.1, 0.2, 0.5))]
    for update, score in scores:
        now = states(update, update + 1, update + 2)
        best = update_best(AGENT, best, now, np.array(score), -np.array(score), update)
    assert best.update.tolist() == [20, 0, 40]
    assert np.allclose(best.score, [0.4, 0.3, 0.5])
    assert np.allclose(best.precision, [-0.4, -0.3, -0.5])
    assert with_best(AGENT, now, best).weights.tolist() == [[20], [1], [42]]
    places = selected_places(selection_of(pretrain=30, q_learning=20), best, 3)
    assert [place["phase"] for place in places] == ["pretrain", "start", "q_learning"]


def test_of_validations_that_are_alike_the_first_stays():
    best = start_best(AGENT, states(5), 1, "best")
    for update in (20, 40):
        score = np.array([0.3])
        best = update_best(AGENT, best, states(update), score, score, update)
    assert best.update.tolist() == [20] and best.params.tolist() == [[20]]


def test_without_a_selection_the_last_update_of_all_is_evaluated():
    places = selected_places(selection_of("last", pretrain=3, q_learning=4), None, 2)
    assert places == [{"phase": "q_learning", "update": 7}] * 2
    assert selected_places(selection_of("last", 0, 0), None, 2) is None


def test_what_nobody_validated_gives_way():
    best = start_best(AGENT, states(5), 1, "best")
    best = update_best(AGENT, best, states(6), np.array([0.0]), np.array([0.0]), 20)
    assert best.params.tolist() == [[6]] and best.score.tolist() == [0]


def test_a_validation_without_a_number_takes_the_place_of_none_that_has_one():
    best, nothing = start_best(AGENT, states(5), 1, "best"), np.array([np.nan])
    best = update_best(AGENT, best, states(6), nothing, nothing, 20)
    best = update_best(AGENT, best, states(7), np.array([0.1]), np.array([0.1]), 40)
    best = update_best(AGENT, best, states(8), nothing, nothing, 60)
    assert best.params.tolist() == [[7]] and best.update.tolist() == [40]


def selected_of(selection, hits_by_update):
    """Selected updates where validation at an update has so many hits, of 8."""

    def evaluate(now):
        hits = hits_by_update[int(now.weights[0, 0])]
        return [answered([1] * n + [0] * (8 - n)) for n in np.atleast_1d(hits)]

    best, logs = start_best(AGENT, states(0), 1, selection.select), {}
    for update in (4, 8):
        now = states(update)
        best, logs[update] = validate(AGENT, selection, best, now, update, evaluate)
    return best, logs


def test_a_metric_that_nobody_has_is_logged_as_none_without_a_warning():
    hits = {0: 8, 4: 8, 8: 8}  # no row of dislikes has a length
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, logs = selected_of(selection_of(), hits)
    assert np.isnan(logs[8]["eval/dislike_streak_length"])
    assert logs[8]["eval/like_streak_length"] == 8


def test_pretraining_does_not_stand_in_for_q_learning():
    hits = {0: 7, 4: 6, 8: 2}
    best, logs = selected_of(selection_of(), hits)
    assert best.update.tolist() == [8] and best.params.tolist() == [[8]]
    assert "best/reward_alpha_0" not in logs[4]
    assert logs[8]["best/reward_alpha_0"] == -0.5 == logs[8]["eval/reward_alpha_0"]
    assert logs[8]["best/precision_at_8"] == 0.25
    best, logs = selected_of(selection_of("any_phase"), hits)
    assert best.update.tolist() == [0] and logs[4]["best/reward_alpha_0"] == 0.75
    best, _ = selected_of(selection_of(pretrain=8, q_learning=0), hits)
    assert best.update.tolist() == [0]


def test_all_who_are_asked_select_and_validation_users_are_logged():
    """By validation users alone, the first number, the start would be best."""
    hits = {0: (7, 0), 4: (6, 4), 8: (5, 1)}
    best, logs = selected_of(selection_of(pretrain=8, q_learning=0), hits)
    assert best.update.tolist() == [4] and best.score.tolist() == [5 / 8]
    assert best.precision.tolist() == [6 / 8]
    assert logs[4]["best/precision_at_8"] == 0.75 == logs[4]["eval/precision_at_8"]


def test_held_out_training_users_are_asked_where_users_are_new():
    holds_out = SimpleNamespace(held_out=lambda states: (states + ["apart"], [5]))
    assert asked(AGENT, ["own"], [7, 8], are_new=True) == [(["own"], [7, 8])]
    assert asked(holds_out, ["own"], [7], are_new=False) == [(["own"], [7])]
    own, other = asked(holds_out, ["own"], [7, 8], are_new=True)
    assert own == (["own"], [7, 8]) and other == (["own", "apart"], [5])


@pytest.mark.parametrize(("select", "begins"), [("best", 4), ("any_phase", 4)])
def test_q_learning_begins_where_pretraining_was_best(select, begins):
    hits = {0: 1, 4: 6, 8: 2}
    selection = selection_of(select, pretrain=8)
    agent = SimpleNamespace(
        served="weights", go_on_from=lambda states, best: State(best, step=9)
    )
    best, _ = selected_of(selection, hits)
    assert best.update.tolist() == [4] and selection.place(4)["phase"] == "pretrain"
    for update, weight in ((4, 0), (8, begins), (12, 0)):
        states_now = handed_over(agent, selection, best, states(0), update)
        assert states_now.weights.tolist() == [[weight]]
    # Without a selection, or where an agent cannot, it goes on from the last.
    last = selection_of("last", pretrain=8)
    cannot = SimpleNamespace(go_on_from=None)
    for other in ((agent, last, None), (cannot, selection, best)):
        assert handed_over(*other, states(3), 8).weights.tolist() == [[3]]


# --- whole runs


def result_of(folder, select="best", **changes):
    config = tiny_config()
    config.evaluation.every, config.evaluation.baselines = 2, ()
    config.update_from_flattened_dict({"evaluation.select": select, **changes})
    return train_and_evaluate(config, folder, quiet=True)


@pytest.mark.usefixtures("one_program")
def test_pretraining_that_does_harm_ends_where_it_began(tmp_path):
    harm = {"pretrain.learning_rate": 0.3, "optimizer.average_step": 1.0}
    harm |= {"q_learning.num_updates": 0}
    best = result_of(tmp_path / "best", **harm)
    last = result_of(tmp_path / "last", "last", **harm)
    start = result_of(tmp_path / "start", **harm | {"pretrain.num_updates": 0})
    assert best["selected"] == [{"phase": "start", "update": 0}] == start["selected"]
    assert last["selected"] == [{"phase": "pretrain", "update": 4}]
    assert best["summary"] == start["summary"] != last["summary"]


@pytest.mark.usefixtures("one_program")
def test_a_run_says_where_it_was_selected(tmp_path):
    config = config_of_two_seeds()
    config.reward.alpha = 0.25
    summary = train_and_evaluate(config, tmp_path, quiet=True)
    assert summary["select"] == "best" and len(summary["selected"]) == 2
    for place in summary["selected"]:
        assert place["phase"] == "q_learning" and place["update"] in (6, 8)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["selected"] == summary["selected"]
    has_best = ["best/reward_alpha_0.25" in line for line in read_metrics(tmp_path)]
    assert has_best == [False, False, True, True]
    assert all("eval/reward_alpha_0.25" in line for line in read_metrics(tmp_path))


@pytest.mark.usefixtures("one_program")
def test_validation_asks_validation_users_and_no_others(tmp_path, monkeypatch):
    users, check = [], early_stopping.validate

    def listen(agent, selection, best, states, update, evaluate):
        def evaluate_and_note(states):
            results = evaluate(states)
            users.extend(result.evaluation.users.tolist() for result in results)
            return results

        return check(agent, selection, best, states, update, evaluate_and_note)

    monkeypatch.setattr(training_run, "validate", listen)
    config = tiny_config()
    config.evaluation.baselines = ()
    run = build_run(config, tmp_path)
    train_and_evaluate(config, tmp_path, quiet=True)
    split = run.dataset.split
    # After updates 4 and 8, and the start.
    assert users == [split.validation.tolist()] * 3
    assert not set(split.validation) & {*split.test, *split.train}


@pytest.mark.parametrize(
    ("key", "word", "message"),
    [
        ("select", "first", "evaluation.select is 'first', expected one of best, any"),
        ("seeds", "both", "evaluation.seeds is 'both', expected individual or ens"),
        ("seeds", "ensemble", "ensemble needs two seeds or more, num_seeds is 1"),
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


def test_the_last_update_of_pretraining_is_of_pretraining():
    """It may be handed over, and does not compete with what Q-learning makes of it."""
    selection = selection_of(pretrain=4, q_learning=4)
    assert selection.is_judged(4) and not selection.competes(4)
    best = start_best(AGENT, states(1.0, 2.0), 2, "best")
    best = best.replace(update=np.array([4, 5]), score=np.array([0.9, 0.8]))
    left = early_stopping._without_pretraining(selection, best).score
    assert np.isnan(left[0]) and left[1] == np.float32(0.8)
