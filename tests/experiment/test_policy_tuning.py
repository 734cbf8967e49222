"""Settings are those that serve training users best whom the policy does not know."""

import dataclasses
import functools

import numpy as np
import pytest
from worlds import checkerboard, flip_feedback, random_world

from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.agents.two_stage.tables import make_folds, without
from dlerse_jax.baseline_defaults import baseline_defaults
from dlerse_jax.data import synthetic_dataset
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.experiment import fold_player, policy_tuning
from dlerse_jax.experiment.fold_player import FoldPlayer
from dlerse_jax.experiment.policy_tuning import (
    LEAST,
    STARTS,
    choose_settings,
    tunable_words,
)
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.linear_models.spectra import gram_spectrum

HORIZON = 4
ZERO = np.zeros(1, np.int32)


@functools.cache
def world_of(**options):
    options = {"num_users": 100, "num_items": 40, "mean_likes": 6.0} | options
    data = synthetic_dataset(seed=1, most_topics=2, **options)
    weights = np.random.default_rng(0).integers(1, 9, len(data.liked_items))
    return dataclasses.replace(data, like_weights=weights.astype(np.float32))


def settings_of(name, **changes):
    own = baseline_defaults()[name]
    small = {word: 4 for word in ("rank", "ridge_rank") if word in own}
    return own | small | changes


def simulator(data):
    return make_simulator(data, alpha=0.0, horizon=HORIZON)


def played_alone(name, data, settings, player):
    """Precision of the second fold's users under a policy that was made without it."""
    [number, users] = player.asked(0)[1]
    fold = make_folds(data.split.train, 8)[1]
    assert number == 1 and set(users) == set(fold)
    agent, roots = CLASSICAL[name](without(data, fold), **settings), seed_keys(ZERO)
    played = evaluate_users(
        greedy_rollout(agent),
        init_states(agent, roots),
        simulator(data),
        users,
        roots,
        agent_name=name,
    )
    return played.feedback[0].mean(axis=-1)


@pytest.mark.parametrize("name", ["linear_plus", "mf_friends"])
def test_a_point_is_played_as_a_policy_made_without_the_fold_would(name):
    data = world_of()
    settings = settings_of(name)
    other = settings | {"regularisation": 40.0, "prior_weight": 30.0}
    other |= {"tag_weight": 0.5, "rank_weight": 0.35}
    far = {"far_hops": 3, "two_hop_weight": 1.0, "activity_power": 0.5}
    other |= {word: number for word, number in far.items() if word in settings}
    player = FoldPlayer(name, data, simulator(data))
    points = [settings, other, settings | {"prior_weight": 30.0}, other]
    found = player.precision(points, 0)
    assert np.array_equal(found[1], found[3])  # whatever was asked in between
    asked = [users for part in range(3) for _, users in player.asked(part)]
    assert len(set(np.concatenate(asked))) == 2 * found.shape[1] == 80
    alone = played_alone(name, data, other, player)
    np.testing.assert_allclose(found[1, 10:20], alone, atol=1e-6)
    assert not np.array_equal(*found[:2])


def test_a_point_that_differs_in_how_far_friends_reach_alone_is_played_as_alone():
    data = world_of()
    near = settings_of("linear", two_hop_weight=4.0, far_hops=2)
    far = near | {"far_hops": 3}
    found = FoldPlayer("linear", data, simulator(data)).precision([near, far], 0)
    alone = FoldPlayer("linear", data, simulator(data)).precision([far], 0)
    assert np.array_equal(found[1], alone[0])
    assert not np.array_equal(found[0], found[1])


def test_what_others_of_a_fold_like_is_hidden_from_those_who_are_asked(monkeypatch):
    monkeypatch.setattr(fold_player, "FEWEST_ASKED", 16)
    monkeypatch.setattr(fold_player, "MOST_ASKED", 16)

    def from_nothing(rows, rank, near):  # a spectrum of everybody is no start
        return gram_spectrum(rows, rank)

    monkeypatch.setattr(fold_player, "nearby_spectrum", from_nothing)
    data = random_world(num_users=200)
    settings = settings_of("linear", rank_weight=0.0, tag_weight=0.0)
    player = FoldPlayer("linear", data, simulator(data))
    [_, asked] = player.asked(0)[0]
    others = np.setdiff1d(player._folds[0], asked)
    assert len(asked) == 4 and len(others) > 10
    flipped = flip_feedback(data, others)
    again = FoldPlayer("linear", flipped, simulator(flipped))
    found, now = (each.precision([settings], 0)[0, :4] for each in (player, again))
    assert found.any() and np.array_equal(found, now)


def test_neither_validation_nor_test_users_are_asked():
    data = random_world(num_users=40)
    settings = settings_of("linear_plus", rank_weight=0.0, tag_weight=0.0)
    found = []
    for users in ([], data.split.validation, data.split.test, data.split.train[:9]):
        flipped = flip_feedback(data, users)
        player = FoldPlayer("linear_plus", flipped, simulator(flipped))
        found.append(player.precision([settings], 0))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[3])


def test_popularity_is_among_the_starts():
    data = world_of(friendless_share=1.0)
    settings = settings_of("linear_plus", rank_weight=0.0)
    player = FoldPlayer("linear_plus", data, simulator(data))
    [row] = player.precision([settings | STARTS[0]], 0)
    alone = played_alone("popularity", data, {}, player)
    np.testing.assert_allclose(row[10:20], alone, atol=1e-6)


def test_answers_count_for_more_where_they_tell_everything():
    data = checkerboard(num_users=80)
    settings = settings_of("ease_popularity", answer_weight=0.0, regularisation=10.0)
    found, seconds = choose_settings(
        "ease_popularity", data, simulator(data), settings, fixed=["dislike_weight"]
    )
    assert found.settings["answer_weight"] > 0 and seconds > 0
    assert found.settings["dislike_weight"] == settings["dislike_weight"]
    assert found.mean > found.mean_of_start + 0.1
    again, _ = choose_settings(
        "ease_popularity", data, simulator(data), settings, fixed=["dislike_weight"]
    )
    assert again == found


class FewAnswers:
    """Stands for the player: the less an answer counts, the better."""

    def __init__(self, *_):
        pass

    def precision(self, points, part):
        return np.array([[1 / (1 + point["answer_weight"])] * 3 for point in points])


@pytest.mark.parametrize(
    ("above_zero", "least"), [((), 0.0), (("answer_weight",), LEAST)]
)
def test_what_an_agent_learns_more_of_is_not_switched_off(
    monkeypatch, above_zero, least
):
    monkeypatch.setattr(policy_tuning, "FoldPlayer", FewAnswers)
    own, data = settings_of("ease_popularity"), random_world()
    found, _ = choose_settings(
        "ease_popularity", data, None, own, above_zero=above_zero
    )
    assert found.settings["answer_weight"] == least
    assert min(tried.settings["answer_weight"] for tried in found.tried) == least


def test_a_regression_on_answers_is_searched_on_a_scale_of_its_own(monkeypatch):
    asked = {}

    class Listening(FewAnswers):
        def precision(self, points, part):
            asked[name].update(point["regularisation"] for point in points)
            return np.zeros((len(points), 3))

    monkeypatch.setattr(policy_tuning, "FoldPlayer", Listening)
    for name in ("mf_friends", "linear"):
        asked[name] = set()
        choose_settings(name, random_world(), None, settings_of(name))
    assert {1.0, 18.0} <= asked["mf_friends"] and max(asked["mf_friends"]) <= 32
    assert {60.0, 900.0} <= asked["linear"]


def test_what_the_data_lack_is_not_searched():
    have = tunable_words(settings_of("linear_plus"), world_of())
    assert {"tag_weight", "rank_weight", "two_hop_weight"} <= set(have)
    assert not {"rank", "ridge_rank", "ridge_power", "min_tag_uses"} & set(have)
    lack = tunable_words(settings_of("linear_plus"), random_world())
    assert set(have) - set(lack) == {"tag_weight", "rank_weight"}
    alone = tunable_words(settings_of("linear_plus"), world_of(friendless_share=1.0))
    social = {"prior_weight", "two_hop_weight", "far_hops", "activity_power"}
    assert set(have) - set(alone) == social


def test_where_all_like_as_much_nobody_counts_less_for_it():
    data = world_of()
    alike = np.arange(data.num_users + 1) * 5
    even = dataclasses.replace(
        data,
        like_offsets=alike,
        liked_items=np.tile(np.arange(5, dtype=np.int32), data.num_users),
        like_weights=np.arange(alike[-1], dtype=np.float32),
    )
    settings = settings_of("linear")
    lost = set(tunable_words(settings, data)) - set(tunable_words(settings, even))
    assert lost == {"activity_power"}


def test_one_training_user_is_too_few():
    data = random_world(num_users=9)
    with pytest.raises(ValueError, match="probe has 1 training users"):
        choose_settings("linear", data, simulator(data), settings_of("linear"))
