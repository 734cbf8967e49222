"""The cheap mask of dropout: the chance asked for, and draws that keep apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.runtime.random_streams import keep_mask, stream_key, stream_keys

NAMES = "users", "mask", "act"
SHAPE = (200, 500)
KEYS = jax.random.split(jax.random.key(0), 3)
draw = jax.jit(keep_mask, static_argnums=(1, 2))


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_mask_keeps_the_share_asked_for_in_rows_and_columns(chance):
    mask = np.asarray(draw(KEYS[0], chance, SHAPE))
    for axis in (0, 1):
        deviation = np.sqrt(chance * (1 - chance) / SHAPE[axis])
        assert np.abs(mask.mean(axis=axis) - chance).max() < 4.5 * deviation


def test_masks_of_two_keys_and_two_places_are_unrelated():
    ours, reference = (np.asarray(draw(key, 0.5, SHAPE)) for key in KEYS[:2])
    few = 4 / np.sqrt(ours.size)
    assert abs((ours == reference).mean() - 0.5) < few
    assert abs((ours[1:] == ours[:-1]).mean() - 0.5) < few
    assert abs((ours[:, 1:] == ours[:, :-1]).mean() - 0.5) < few


def test_a_vmapped_mask_is_that_of_its_key_alone():
    together = jax.vmap(lambda key: keep_mask(key, 0.3, (7, 5)))(KEYS)
    alone = [keep_mask(key, 0.3, (7, 5)) for key in KEYS]
    np.testing.assert_array_equal(together, jnp.stack(alone))


def test_chance_one_keeps_everything_but_for_one_in_billions():
    assert draw(KEYS[0], 1.0, SHAPE).all()


def test_keys_of_several_streams_together_are_those_of_each_alone():
    together = stream_keys(KEYS[0], *NAMES)
    assert list(together) == list(NAMES)
    for name, key in together.items():
        alone = stream_key(KEYS[0], name)
        np.testing.assert_array_equal(*map(jax.random.key_data, (key, alone)))
