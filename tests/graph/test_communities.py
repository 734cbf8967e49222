"""Communities are those that a world was made of, and friends say who belongs where."""

import functools

import numpy as np
import pytest
from scipy import sparse

from dlerse_jax.graph import communities
from dlerse_jax.graph.communities import (
    CHANCE_USERS,
    MOST_CELLS,
    find_communities,
    num_communities,
)

NUM_USERS, NUM_ITEMS = 90, 30
HOMES = np.arange(NUM_USERS) % 3  # three communities, each with ten items of its own


_find = functools.partial(find_communities, runs=4, count=3)


def _likes(seed=0, share=0.5):
    draws = np.random.default_rng(seed).random((NUM_USERS, NUM_ITEMS))
    is_own = np.arange(NUM_ITEMS) // 10 == HOMES[:, None]
    return sparse.csr_matrix((draws < np.where(is_own, share, 0.02)).astype(np.float32))


def _nobody():
    return sparse.csr_matrix((NUM_USERS, NUM_USERS), dtype=np.float32)


def _from_home(found):
    """How far users of a home share communities with each of the homes: [3, 3]."""
    together = found.members @ found.members.T / found.num_runs
    is_home = np.arange(3)[:, None] == HOMES
    return is_home @ together @ is_home.T / np.outer(is_home.sum(1), is_home.sum(1))


def test_those_who_like_the_same_belong_together():
    found = _find(_likes(), _nobody())
    shared = _from_home(found)
    assert (np.diag(shared) > 5 * np.delete(shared.ravel(), [0, 4, 8]).max()).all()
    expected = (found.members @ found.chances.T) / found.num_runs  # of each user
    own = expected.reshape(NUM_USERS, 3, 10).mean(axis=2)
    assert (own.argmax(axis=1) == HOMES).mean() > 0.95


def test_chances_and_shares_are_those_of_the_members():
    """One community holds everybody: chances are popularity, as far as it is known."""
    likes = _likes()
    is_known = np.asarray(likes.sum(axis=1)).ravel() > 0
    count = is_known.sum()
    found = _find(likes, _nobody(), runs=1, count=1)
    np.testing.assert_allclose(found.members[:, 0], is_known)
    liked = np.asarray(likes.sum(axis=0)).ravel()
    prior = CHANCE_USERS * (liked + 0.1) / count
    chances = (liked + prior) / (count + CHANCE_USERS)
    np.testing.assert_allclose(found.chances[:, 0], chances, rtol=1e-5)
    np.testing.assert_allclose(found.shares, 1, rtol=1e-5)


def test_members_are_those_who_like_something_and_each_run_is_whole():
    likes = _likes().tolil()
    likes[7] = 0
    found = _find(likes.tocsr(), _nobody())
    of_runs = found.members.reshape(NUM_USERS, found.num_runs, -1).sum(axis=2)
    assert (of_runs[7] == 0).all()
    np.testing.assert_allclose(np.delete(of_runs, 7, axis=0), 1, rtol=1e-4)
    runs = found.members.reshape(NUM_USERS, found.num_runs, -1)
    assert not np.allclose(runs[:, 0], runs[:, 1])  # each starts elsewhere


@pytest.mark.parametrize("direction", ["names", "is named"])
def test_friends_say_where_somebody_belongs_whose_likes_do_not(direction):
    """Their one like is of nobody's own items, and all whom they know are of a home."""
    likes, unsure = _likes().tolil(), 3
    likes[unsure] = 0
    likes[:, 29] = 0
    likes[[unsure, 4, 5, 6], 29] = 1  # one other of each home
    near = np.flatnonzero(HOMES == 1)[2:14]
    pairs = np.full(len(near), unsure), near
    pairs = pairs if direction == "names" else pairs[::-1]
    ones = np.ones(len(near), np.float32)
    friends = sparse.csr_matrix((ones, pairs), shape=(NUM_USERS, NUM_USERS))
    found = _find(likes.tocsr(), friends)
    together = found.members[unsure] @ found.members.T / found.num_runs
    of_homes = np.array([together[home == HOMES].mean() for home in range(3)])
    assert of_homes.argmax() == 1 and of_homes[1] > 2 * np.delete(of_homes, 1).max()
    stranger = _find(likes.tocsr(), _nobody())
    together = stranger.members[unsure] @ stranger.members.T / stranger.num_runs
    assert together[HOMES == 1].mean() < of_homes[1] / 2


def test_weak_pairs_say_less_than_strong_ones():
    likes, unsure = _likes().tolil(), 3
    likes[unsure] = 0
    likes[unsure, [0, 10]] = 1
    shares = []
    for weights in ((1.0, 0.05), (0.05, 1.0)):
        near = [np.flatnonzero(home == HOMES)[2:10] for home in (0, 1)]
        values = np.repeat(weights, 8).astype(np.float32)
        pairs = np.full(16, unsure), np.concatenate(near)
        friends = sparse.csr_matrix((values, pairs), shape=(NUM_USERS, NUM_USERS))
        found = _find(likes.tocsr(), friends)
        together = found.members[unsure] @ found.members.T
        shares.append(together[HOMES == 0].mean() / together[HOMES == 1].mean())
    assert shares[0] > 1.2 > 1 / 1.2 > shares[1]


def test_the_same_seed_finds_the_same():
    ours, again = (_find(_likes(), _nobody()) for _ in range(2))
    np.testing.assert_array_equal(ours.members, again.members)
    other = _find(_likes(), _nobody(), seed=1)
    assert not np.allclose(ours.members, other.members)


def test_in_the_end_bayes_rule_says_who_belongs_where(monkeypatch):
    """Likes count in full by then, and large communities more than small ones."""
    monkeypatch.setattr(communities, "ITERATIONS", 60)  # nothing moves any more
    homes = [np.flatnonzero(home == HOMES)[: 30 // (home + 1)] for home in range(3)]
    likes = _likes()[np.concatenate(homes)]
    nobody = sparse.csr_matrix((likes.shape[0],) * 2, dtype=np.float32)
    found = _find(likes, nobody)
    log = likes @ np.log(found.chances) + np.log(found.shares)
    log += (1 - likes.toarray()) @ np.log1p(-found.chances)
    expected = np.exp(log).reshape(len(log), found.num_runs, -1)
    expected /= expected.sum(axis=2, keepdims=True)
    members = found.members.reshape(expected.shape)
    np.testing.assert_allclose(members, expected, atol=1e-3)
    shares = (found.members.sum(axis=0) + 1) / (len(log) + 3)
    np.testing.assert_allclose(found.shares, shares, rtol=0.01)


def test_a_first_guess_is_no_verdict_where_likes_are_many():
    """Of a hundred likes each says little. Taken whole from the start, they make what
    chance began with certain, and it stays so."""
    homes = np.arange(60) % 3
    is_own = np.arange(300) // 100 == homes[:, None]
    draws = np.random.default_rng(1).random(is_own.shape)
    likes = sparse.csr_matrix((draws < np.where(is_own, 0.4, 0.2)).astype(np.float32))
    nobody = sparse.csr_matrix((60, 60), dtype=np.float32)
    found = _find(likes, nobody, runs=16)
    together = found.members @ found.members.T / found.num_runs
    is_home = homes[:, None] == homes
    assert together[is_home].mean() - together[~is_home].mean() > 0.55


def test_how_many_there_are_follows_users_and_memory():
    assert num_communities(1_500, 4_000) == (4, 48)
    assert num_communities(90, 120) == (4, 3)
    assert num_communities(10, 20) == (4, 1)
    runs, count = num_communities(100_000, 200_000)
    assert runs * count * 200_000 <= MOST_CELLS
    assert num_communities(1_000_000, 2_000_000) == (1, 16)
