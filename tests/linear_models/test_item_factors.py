"""Factors are EASE's and the SVD's, and know nothing of unseen users."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import rankdata
from worlds import flip_feedback, random_world

from dlerse_jax.agents.dqn.factory import _exploration_weights
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.linear_models import item_factors, spectra
from dlerse_jax.linear_models.item_factors import (
    ease_factors,
    ridge_factors,
    svd_factors,
    tag_rows,
)
from dlerse_jax.linear_models.spectra import (
    gram_spectrum,
    nearby_spectrum,
    spectra_of_folds,
)
from dlerse_jax.types import Taggings


def _random_likes(num_users, num_items, chance=0.3, seed=0):
    draws = np.random.default_rng(seed).random((num_users, num_items))
    return sparse.csr_matrix((draws < chance).astype(np.float32))


def _closed_form_ease(likes, regularisation):
    gram = (likes.T @ likes).toarray().astype(np.float64)
    inverse = np.linalg.inv(gram + regularisation * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def _weights(ease):
    weights = ease.item_in @ ease.item_out.T
    np.fill_diagonal(weights, 0)
    return weights


def test_ranks_are_those_of_scipy():
    values = np.random.default_rng(0).integers(0, 5, 40).astype(np.float32)
    counts = np.array([7, 0, 1, 32])  # of users, each ranked apart
    users = np.split(values, np.cumsum(counts)[:-1])
    expected = np.concatenate([rankdata(own) for own in users])
    assert np.array_equal(item_factors._mean_ranks(values, counts), expected)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (20, 20)])
def test_full_rank_factors_are_the_closed_form_of_ease(shape):
    likes = _random_likes(*shape)
    ease = ease_factors(likes, rank=min(shape), regularisation=5.0)
    expected = _closed_form_ease(likes, 5.0)
    np.testing.assert_allclose(_weights(ease), expected, atol=1e-5)


def test_low_rank_keeps_the_leverage_of_all_dimensions():
    likes = _random_likes(40, 15)
    low = ease_factors(likes, rank=3, regularisation=5.0)
    full = ease_factors(likes, rank=15, regularisation=5.0)
    np.testing.assert_allclose(low.item_out, full.item_out[:, :3], rtol=1e-5)


def test_truncated_decomposition_agrees_with_the_full_one(monkeypatch):
    likes = _random_likes(200, 60, chance=0.1)
    full = ease_factors(likes, rank=40, regularisation=20.0)
    monkeypatch.setattr(spectra, "DENSE_CELLS", 0)
    monkeypatch.setattr(spectra, "KEPT_CELLS", 0)
    truncated = ease_factors(likes, rank=40, regularisation=20.0)
    np.testing.assert_allclose(truncated.item_in, full.item_in, atol=1e-4)
    # Only the leverage beyond the rank is estimated, and from above.
    ratio = np.linalg.norm(truncated.item_out, axis=1) / np.linalg.norm(
        full.item_out, axis=1
    )
    assert np.all(ratio > 0.999) and np.all(ratio < 1.03)


def test_what_is_estimated_of_a_leverage_is_a_bound_where_likes_count_unequally():
    weights = np.random.default_rng(1).uniform(0.0, 2.0, (200, 60))
    rows = sparse.csr_matrix(_random_likes(200, 60, chance=0.1).multiply(weights))
    whole = gram_spectrum(rows, 60)
    exact = item_factors._leverage(rows, 20.0, whole)
    rough = dataclasses.replace(
        whole,
        energies=whole.energies[:8],
        vectors=whole.vectors[:, :8],
        is_complete=False,
        is_rough=True,
    )
    found = item_factors._leverage(rows, 20.0, rough)
    assert np.all(found >= exact - 1e-9) and np.all(found < exact + 0.1)


@pytest.mark.parametrize("shape", [(90, 50), (50, 90)])
def test_largest_eigenvalues_and_a_cholesky_give_what_all_eigenvalues_give(
    monkeypatch, shape
):
    likes = _random_likes(*shape, chance=0.1)
    settings = {"rank": 6, "regularisation": 20.0}
    full = ease_factors(likes, **settings)
    monkeypatch.setattr(spectra, "MOST_COMPLETE", 0)
    monkeypatch.setattr(spectra, "KEPT_CELLS", 0)
    few = gram_spectrum(likes, 6)
    assert few.vectors.shape == (shape[1], 6)
    for spectrum in (few, None):
        ease = ease_factors(likes, **settings, spectrum=spectrum)
        np.testing.assert_allclose(ease.item_in, full.item_in, atol=1e-6)
        np.testing.assert_allclose(ease.item_out, full.item_out, atol=1e-6)


def test_a_spectrum_less_a_fold_is_near_the_one_found_anew(monkeypatch):
    likes = _random_likes(200, 60, chance=0.1)
    less = likes.copy()
    less.data[: less.indptr[25]] = 0
    less.eliminate_zeros()
    exact = nearby_spectrum(less, 8, gram_spectrum(likes, 8))
    assert exact.is_complete  # a small matrix is not worth an approximation
    monkeypatch.setattr(spectra, "FEWEST_NEARBY", 0)
    rough = nearby_spectrum(less, 8, gram_spectrum(likes, 8))
    assert rough.is_rough and rough.vectors.shape == (60, 8)
    np.testing.assert_allclose(rough.energies, exact.energies[:8], rtol=0.01)
    settings = {"rank": 3, "regularisation": 20.0}
    near = ease_factors(less, **settings, spectrum=rough)
    anew = ease_factors(less, **settings, spectrum=exact)
    scores, true = near.item_in @ near.item_out.T, anew.item_in @ anew.item_out.T
    assert np.corrcoef(scores.ravel(), true.ravel())[0, 1] > 0.99


def test_folds_of_large_likes_are_decomposed_from_the_whole(monkeypatch):
    likes = _random_likes(200, 60, chance=0.1)
    less = likes.copy()
    less.data[: less.indptr[25]] = 0
    less.eliminate_zeros()
    spectrum_of = spectra_of_folds()
    spectrum_of(likes, 8)
    exact = spectrum_of(less, 8)
    assert exact is gram_spectrum(less, 8)  # where all of it is quick
    monkeypatch.setattr(spectra, "DENSE_CELLS", 0)
    monkeypatch.setattr(spectra, "FEWEST_NEARBY", 0)
    monkeypatch.setattr(spectra, "KEPT_CELLS", 0)
    spectrum_of = spectra_of_folds()
    whole, rough = spectrum_of(likes, 8), spectrum_of(less, 8)
    assert rough.is_rough and not whole.is_rough
    assert rough.vectors.dtype == whole.vectors.dtype == np.float32
    np.testing.assert_allclose(rough.vectors.T @ rough.vectors, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(rough.energies, exact.energies[:8], rtol=0.01)


def test_a_spectrum_is_found_once_for_equal_likes(monkeypatch):
    likes = _random_likes(30, 20, seed=11)
    first = gram_spectrum(likes, 6)
    found = []
    complete = spectra._complete_spectrum
    monkeypatch.setattr(
        spectra,
        "_complete_spectrum",
        lambda rows: found.append(1) or complete(rows),
    )
    assert gram_spectrum(likes.copy(), 6) is first and not found
    other = likes.copy()
    other.data[0] = 0.5
    assert gram_spectrum(other, 6) is not first and found == [1]
    np.testing.assert_allclose(
        gram_spectrum(other, 6).energies.sum(), (other.data**2).sum(), rtol=1e-6
    )


def _tagged(world, *taggings):
    users, items, tags = np.array(taggings, np.int32).T
    given = Taggings(users=users, items=items, tags=tags, num_tags=int(tags.max()) + 1)
    return dataclasses.replace(world, taggings=given)


def test_a_tag_is_a_row_of_logs_and_unseen_users_give_none():
    world = random_world()
    seen, unseen = world.split.train[0], world.split.test[0]
    tagged = _tagged(
        world, (seen, 1, 0), (seen, 1, 0), (seen, 2, 0), (seen, 3, 1), (unseen, 4, 1)
    )
    rows = tag_rows(tagged, min_uses=1).toarray()
    expected = np.zeros((2, world.num_items))
    expected[0, 1:3], expected[1, 3] = np.log([3, 2]), np.log(2)
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert tag_rows(tagged, min_uses=2).shape == (1, world.num_items)
    assert tag_rows(world, min_uses=1).shape == (0, world.num_items)


def test_ridge_factors_of_even_power_are_the_singular_vectors():
    likes = _random_likes(30, 12)
    posterior, svd = (
        ridge_factors(likes, rank=4, power=0.25),
        svd_factors(likes, rank=4),
    )
    np.testing.assert_allclose(posterior.items, svd.items, atol=1e-5)
    np.testing.assert_allclose(likes @ posterior.projection, svd.users, atol=1e-4)


def test_item_without_likes_has_zero_factors():
    likes = _random_likes(20, 8).tolil()
    likes[:, 3] = 0
    ease = ease_factors(likes.tocsr(), rank=8, regularisation=1.0)
    np.testing.assert_allclose(ease.item_in[3], 0, atol=1e-6)
    np.testing.assert_allclose(ease.item_out[3], 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_full_rank_svd_factors_give_the_likes_back(shape):
    likes = _random_likes(*shape)
    svd = svd_factors(likes, rank=50)
    np.testing.assert_allclose(svd.users @ svd.items.T, likes.toarray(), atol=1e-4)
    sizes = np.linalg.norm(svd.users, axis=0) / np.linalg.norm(svd.items, axis=0)
    np.testing.assert_allclose(sizes, 1, rtol=1e-3)


def test_feedback_of_validation_and_test_users_leaves_factors_unchanged():
    world = random_world()
    unseen = np.concatenate([world.split.validation, world.split.test])
    other = flip_feedback(world, unseen)
    ours = ease_factors(visible_likes(world), rank=4, regularisation=1.0)
    reference = ease_factors(visible_likes(other), rank=4, regularisation=1.0)
    np.testing.assert_array_equal(ours.item_out, reference.item_out)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rank": 0, "regularisation": 1.0}, "rank must be above 0, got 0"),
        ({"rank": 2, "regularisation": 0.0}, "regularisation must be above 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ease_factors(_random_likes(5, 5), **settings)


def test_no_visible_feedback_is_an_error_not_a_nan():
    with pytest.raises(ValueError, match="no visible like"):
        svd_factors(sparse.csr_matrix((4, 3), dtype=np.float32), rank=2)


def test_billions_of_likes_still_make_increasing_weights_of_int32():
    counts = np.array([2**32, 0, 2**31, 7])
    weights = np.asarray(_exploration_weights(counts, "popularity"), np.int64)
    drawn = np.diff(weights, prepend=0)
    assert (drawn >= 1).all() and weights[-1] < 2**31
    assert drawn[0] / drawn[2] == pytest.approx(2, rel=1e-6)


def test_a_regularisation_that_rounding_swallows_is_refused():
    likes = sparse.csr_matrix(np.eye(4) + 1.0)
    with pytest.raises(ValueError, match="regularisation is 1e-30, too small"):
        ease_factors(likes, rank=4, regularisation=1e-30)
