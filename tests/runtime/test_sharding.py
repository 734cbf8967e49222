"""Several devices: the same numbers, and no item table crosses between them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from dlerse_jax.retrieval.argmax import best_of_shards
from dlerse_jax.runtime import sharding

SCRIPT = Path(__file__).with_name("four_devices.py")


def test_an_aligned_array_is_taken_over_and_not_copied():
    host = sharding.aligned_empty((3, 5), np.float32)
    host[:] = np.arange(15).reshape(3, 5)
    taken = sharding.adopted(host)
    assert taken.unsafe_buffer_pointer() == host.ctypes.data
    np.testing.assert_array_equal(taken[1], np.arange(5, 10))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `four_devices.py` leaves."""
    folder = tmp_path_factory.mktemp("devices")
    flags = [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
    ]
    paths = [
        str(SCRIPT.parents[2]),
        str(SCRIPT.parents[1]),
        os.environ.get("PYTHONPATH", ""),
    ]
    environment = {"XLA_FLAGS": " ".join(flags), "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run(
        [sys.executable, SCRIPT, folder], env=os.environ | environment, check=True
    )
    return folder


@pytest.mark.parametrize("other", ["four", "moved"])
def test_twice_ten_updates_are_those_of_one_device(folder, other):
    """Users and item rows dealt over 2 x 2 devices; and saved there, resumed on one."""
    one, found = np.load(folder / "one.npz"), np.load(folder / f"{other}.npz")
    assert set(one) == set(found) and any("item_out" in name for name in one)
    for name, numbers in one.items():
        if numbers.dtype == np.float32:
            # Adam divides by the gradient's own size: where that is next to nothing,
            # the order of a sum decides a step, of the learning rate (.01) at most.
            np.testing.assert_allclose(found[name], numbers, atol=1e-3, err_msg=name)
            assert np.mean(np.abs(found[name] - numbers) > 1e-4) < 0.01, name
        else:  # every user drawn, item shown and answer kept
            np.testing.assert_array_equal(found[name], numbers, err_msg=name)


def test_no_device_is_sent_the_item_table(folder):
    """Rows that were asked for may cross, and maxima, but no axis of N items."""
    text = (folder / "four.hlo").read_text()
    sent = re.findall(r"= (.+?) (?:all-gather|all-to-all|collective-permute)\(", text)
    sizes = {int(n) for shape in sent for n in re.findall(r"\d+(?=[,\]])", shape)}
    assert sent and not sizes & {67, 68, 34}  # N, N filled up, N of a shard


@pytest.mark.parametrize("shards", [1, 2, 3, 8])
def test_the_best_of_all_shares_is_the_first_maximum(shards):
    levels = np.random.default_rng(shards).integers(0, 9, (50, 203))
    scores = np.where(levels == 0, -np.inf, levels).astype(np.float32)
    found = jax.jit(best_of_shards, static_argnums=1)(scores, shards)
    np.testing.assert_array_equal(found, scores.argmax(axis=1))


@pytest.mark.parametrize(
    ("users", "catalogue", "message"),
    [
        (3, 1, "users is 3 and devices.catalogue 1; their product must be at most 1"),
        (0, 2, "users is 0 and devices.catalogue 2; their product must be 1"),
        (1, 0, "devices.catalogue must be 1 or more, got 0"),
        (-1, 1, "devices.users must be 0"),
    ],
)
def test_more_devices_than_there_are_is_one_clear_line(users, catalogue, message):
    with pytest.raises(ValueError, match=message):
        sharding.make_mesh(users, catalogue)


def test_one_device_needs_no_mesh():
    assert sharding.make_mesh(1, 1) is None
