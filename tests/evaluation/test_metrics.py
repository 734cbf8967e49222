"""Promises of evaluation/metrics.py, checked by hand, by brute force and by sklearn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from dlerse_jax.evaluation import metrics

NAN = np.nan


def random_ranking(seed, num_users=40, num_items=3_000, rate=0.01):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(
        np.tile(np.arange(num_items, dtype=np.float32), (num_users, 1)), axis=1
    )
    relevant = rng.random(scores.shape) < rate
    relevant[:, 0] = True  # every user likes something
    return scores, relevant


@pytest.mark.parametrize(
    "k, precision, recall",
    [(1, [1, 0], [0.25, NAN]), (2, [0.5, 0], [0.25, NAN]), (4, [0.5, 0], [0.5, NAN])],
)
def test_precision_divides_by_k_and_recall_by_likes(k, precision, recall):
    feedback = np.array([[[1, 0, 0, 1], [0, 0, 0, 0]]])  # one seed, two users
    np.testing.assert_allclose(metrics.precision_at(feedback, k), [precision])
    np.testing.assert_allclose(
        metrics.recall_at(feedback, np.array([4, 0]), k), [recall]
    )


@pytest.mark.parametrize("k", [0, 5])
def test_a_cut_off_outside_the_list_is_refused(k):
    with pytest.raises(ValueError, match=f"between 1 and the 4 places.*got {k}"):
        metrics.precision_at(np.zeros((1, 4)), k)


def test_uint8_feedback_does_not_overflow():
    assert metrics.precision_at(np.ones((1, 300), np.uint8), 300) == 1


@pytest.mark.parametrize("k", [1, 5, 10, 64])
def test_ranking_metrics_equal_sklearn(k):
    scores, relevant = random_ranking(seed=k)
    hits = metrics.top_hits(scores, relevant, k)
    num_relevant = relevant.sum(axis=1)
    np.testing.assert_allclose(
        metrics.ndcg_at(hits, num_relevant, k).mean(),
        sklearn_metrics.ndcg_score(relevant, scores, k=k),
        rtol=1e-6,
    )
    above_cut = scores >= scores.shape[1] - k  # scores are ranks
    expected = [
        [score(*user) for user in zip(relevant, above_cut, strict=True)]
        for score in (sklearn_metrics.precision_score, sklearn_metrics.recall_score)
    ]
    np.testing.assert_allclose(metrics.precision_at(hits, k), expected[0])
    np.testing.assert_allclose(metrics.recall_at(hits, num_relevant, k), expected[1])


def test_auc_equals_sklearn_with_many_ties():
    scores, relevant = random_ranking(seed=0)
    scores = scores // 100
    expected = [
        sklearn_metrics.roc_auc_score(*user)
        for user in zip(relevant, scores, strict=True)
    ]
    np.testing.assert_allclose(metrics.auc(scores, relevant), expected, rtol=1e-12)


def test_reciprocal_rank_of_one_relevant_item_equals_sklearn_with_ties():
    scores, _ = random_ranking(seed=1)
    scores = scores // 50
    relevant = np.zeros(scores.shape, bool)
    relevant[:, 7] = True
    expected = sklearn_metrics.label_ranking_average_precision_score(relevant, scores)
    np.testing.assert_allclose(
        metrics.reciprocal_rank(scores, relevant).mean(), expected
    )


def test_reciprocal_rank_is_that_of_the_first_hit():
    scores = np.array([[0.1, 0.9, 0.5, 0.7], [4, 3, 2, 1], [0, 0, 0, 0]])
    relevant = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]], bool)
    np.testing.assert_allclose(
        metrics.reciprocal_rank(scores, relevant), [1 / 3, 1, NAN]
    )


def test_a_user_without_relevant_items_has_no_ranking_metric():
    scores, nothing = np.ones((1, 20)), np.zeros((1, 20), bool)
    hits = metrics.top_hits(scores, nothing, 10)
    assert metrics.precision_at(hits, 10) == 0
    assert np.isnan(metrics.ndcg_at(hits, np.array([0]), 10))
    assert np.isnan(metrics.auc(scores, nothing))
    assert np.isnan(metrics.auc(scores, ~nothing))


def test_items_scored_minus_infinity_are_not_in_the_competition():
    scores = np.array([[3.0, 2.0, 1.0, -np.inf, -np.inf]])
    relevant = np.array([[True, False, False, True, False]])
    assert metrics.auc(scores, relevant) == 1
    np.testing.assert_array_equal(
        metrics.top_hits(scores, relevant, 5), [[1, 0, 0, 0, 0]]
    )


@pytest.mark.parametrize("num_items", [1, 5, 127, 257, 1_000, 17_001, 200_003])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_top_items_equal_a_full_sort(num_items, k):
    k = min(k, num_items)
    scores, _ = random_ranking(seed=2, num_users=7, num_items=num_items)
    expected = np.argsort(-scores, axis=1)[:, :k]
    np.testing.assert_array_equal(metrics.top_items(scores, k), expected)


def test_top_items_of_tied_scores_are_the_best_and_never_repeat():
    scores = np.random.default_rng(3).integers(0, 5, (300, 2_000)).astype(np.float32)
    items = metrics.top_items(scores, 32)
    assert all(len(set(row)) == 32 for row in items.tolist())
    np.testing.assert_array_equal(np.take_along_axis(scores, items, 1), 4)


@pytest.mark.parametrize("num_users", [15, 16, 17, 600])
def test_top_items_do_not_hang_on_how_users_are_sliced(num_users):
    scores, _ = random_ranking(seed=5, num_users=num_users, num_items=5_000)
    expected = np.argsort(-scores, axis=1)[:, :10]
    np.testing.assert_array_equal(metrics.top_items(scores, 10), expected)


def test_top_items_of_nobody_is_empty():
    assert metrics.top_items(np.zeros((0, 50)), 3).shape == (0, 3)


@pytest.mark.parametrize("place", [0, 4_321, 4_999])  # in a group, and beyond the last
def test_a_score_that_is_not_a_number_is_refused(place):
    scores = np.zeros((2, 5_000), np.float32)
    scores[1, place] = NAN
    with pytest.raises(ValueError, match="NaN"):
        metrics.top_items(scores, 3)


def test_mean_reward_without_streaks_is_twice_precision_minus_one():
    feedback = np.random.default_rng(4).integers(0, 2, (3, 50, 32))
    valid = np.ones(feedback.shape, bool)
    reward = metrics.mean_reward(feedback, valid, alpha=0.0, miss_reward=-1)
    np.testing.assert_allclose(reward, 2 * metrics.precision_at(feedback, 32) - 1)


def test_mean_reward_leaves_out_steps_that_never_were():
    feedback = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
    valid = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], bool)
    reward = metrics.mean_reward(feedback, valid, alpha=0.0, miss_reward=-1)
    np.testing.assert_array_equal(reward, [1, NAN])


def test_run_lengths_are_means_over_the_runs_of_an_episode():
    likes = np.array([[1, 1, 0, 1, 0, 0], [0] * 6, [1] * 6], bool)
    np.testing.assert_allclose(metrics.mean_streak_length(likes), [1.5, NAN, 6])
    np.testing.assert_allclose(metrics.mean_streak_length(~likes), [1.5, 6, NAN])
    np.testing.assert_array_equal(metrics.longest_streak(likes), [2, 0, 6])
