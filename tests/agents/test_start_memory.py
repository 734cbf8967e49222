"""How many copies of a fold's factors are held while they are made."""

import dataclasses
import tracemalloc

import pytest

import dlerse_jax as dj
from dlerse_jax.agents.dqn.initialization import Plus, make_start
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.defaults import base_config
from dlerse_jax.linear_models import item_factors, spectra

RANK = 64  # R, and D is half of it
WORLD = dj.synthetic_dataset(num_users=10_000, num_items=10_000, mean_likes=5.0)


def _start(spectrum_of):
    plus = dataclasses.replace(Plus(**base_config().plus), ridge_rank=RANK)
    return make_start(
        visible_likes(WORLD),
        WORLD,
        plus=plus,
        copies=False,
        factors="ease",
        width=RANK // 2,
        regularisation=20.0,
        session_gain=1.0,
        miss_reward=0.0,
        spectrum_of=spectrum_of,
    )


def _most_held(call) -> float:
    """By NumPy at the same time, in matrices of [N, R] float32."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / (4 * WORLD.num_items * RANK)
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def _many_likes(monkeypatch):
    monkeypatch.setattr(spectra, "DENSE_CELLS", 0)
    monkeypatch.setattr(item_factors, "ROWS_AT_ONCE", 1024)


def test_a_start_lets_go_of_factors_that_have_become_others():
    spectrum_of = spectra.spectra_of_folds()
    _start(spectrum_of)  # the next are made from these
    assert _most_held(lambda: _start(spectrum_of)) < 6  # 7.5 before, 5.5 since


def test_a_step_of_subspace_iteration_lets_go_of_the_last():
    likes = visible_likes(WORLD)
    near = spectra.gram_spectrum(likes, RANK)
    most = _most_held(lambda: spectra.nearby_spectrum(likes, RANK, near))
    assert most < 5  # 5.6 before, 4.4 since
