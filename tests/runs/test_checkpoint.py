import dataclasses
import errno
import os
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import struct

from dlerse_jax.runs import checkpoint, leaves, manifest
from dlerse_jax.types import Evaluation


@struct.dataclass(kw_only=True)
class State:
    params: dict
    optimizer: optax.OptState
    shown: jax.Array
    key: jax.Array


def make_state(width=3, seed=0):
    key_params, key_shown, key_next = jax.random.split(jax.random.key(seed), 3)
    params = {"dense": {"kernel": jax.random.normal(key_params, (2, width))}}
    return State(
        params=params,
        optimizer=optax.adam(1e-3).init(params),
        shown=jax.random.bernoulli(key_shown, shape=(5,)),
        key=key_next,
    )


def bits(tree):
    """Each leaf as type, shape and bytes, so that equal means equal to the bit."""

    def leaf_bits(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        leaf = np.asarray(leaf)
        return str(leaf.dtype), leaf.shape, leaf.tobytes()

    return [leaf_bits(leaf) for leaf in jax.tree.leaves(tree)]


def test_a_state_comes_back_to_the_bit(tmp_path):
    state = make_state()
    checkpoint.save(tmp_path, 7, state)
    step, restored = checkpoint.restore_newest(tmp_path, jax.eval_shape(make_state))
    assert step == 7
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert bits(restored) == bits(state)
    draws = [jax.random.uniform(s.key, (4,)) for s in (state, restored)]
    np.testing.assert_array_equal(*draws)


SHARED_KERNELS = State(params=None, optimizer=0, shown=0, key=0)


def test_what_no_update_changes_is_stored_once_and_comes_back(tmp_path):
    states = [make_state(seed=step) for step in range(3)]
    states = [state.replace(params=states[0].params) for state in states]
    for step, state in enumerate(states):
        checkpoint.save(tmp_path, step, state, SHARED_KERNELS)
    shape = ["state/params/dense/kernel"]
    found = {
        folder.name: [
            name for name in manifest.read_manifest(folder)["leaves"] if name in shape
        ]
        for folder in (tmp_path / "checkpoints").iterdir()
    }
    assert found == {"shared": shape, "0": [], "1": [], "2": []}
    step, restored = checkpoint.restore_newest(tmp_path, make_state())
    assert step == 2 and bits(restored) == bits(states[2])


def test_a_checkpoint_with_everything_in_it_is_still_read(tmp_path):
    checkpoint.save(tmp_path, 0, make_state(seed=4))  # as before there was `shared/`
    checkpoint.save(tmp_path, 1, make_state(seed=5), SHARED_KERNELS)
    shutil.rmtree(tmp_path / "checkpoints" / "1")
    step, restored = checkpoint.restore_newest(tmp_path, make_state())
    assert step == 0 and bits(restored) == bits(make_state(seed=4))


def test_a_damaged_shared_part_is_made_again_and_written_anew(tmp_path, caplog):
    checkpoint.save(tmp_path, 0, make_state(), SHARED_KERNELS)
    shared = tmp_path / "checkpoints" / "shared"
    flip_a_bit(shared)
    assert checkpoint.restore_newest(tmp_path, make_state()) is None
    step, restored = checkpoint.restore_newest(tmp_path, make_state(), fresh=make_state)
    assert step == 0 and bits(restored) == bits(make_state())
    assert "made again from config and data" in caplog.text
    checkpoint.save(tmp_path, 1, make_state(), SHARED_KERNELS)
    assert manifest.is_whole(shared)


def test_a_shared_part_of_another_run_is_not_taken_for_ones_own(tmp_path, caplog):
    for seed, name in enumerate(("own", "other")):
        checkpoint.save(tmp_path / name, 0, make_state(seed=seed), SHARED_KERNELS)
    own, other = (tmp_path / name / "checkpoints/shared" for name in ("own", "other"))
    shutil.rmtree(own)
    other.rename(own)
    assert checkpoint.restore_newest(tmp_path / "own", make_state()) is None
    assert "it is of another run" in caplog.text
    found = checkpoint.restore_newest(tmp_path / "own", make_state(), fresh=make_state)
    assert found[0] == 0 and bits(found[1]) == bits(make_state())


def test_a_shared_part_that_was_left_without_a_step_is_written_anew(tmp_path):
    checkpoint.save(tmp_path, 0, make_state(seed=0), SHARED_KERNELS)
    shutil.rmtree(tmp_path / "checkpoints" / "0")
    checkpoint.save(tmp_path, 0, make_state(seed=1), SHARED_KERNELS)
    _, restored = checkpoint.restore_newest(tmp_path, make_state())
    assert bits(restored) == bits(make_state(seed=1))


def test_a_run_goes_back_to_a_step_or_what_is_before_it(tmp_path):
    for step in (2, 4, 6):
        checkpoint.save(tmp_path, step, {"x": jnp.int32(step)})
    for last_step, found in ((6, 6), (4, 4), (3, 2)):
        step, state = checkpoint.restore_newest(
            tmp_path, {"x": jnp.int32(0)}, last_step=last_step
        )
        assert (step, int(state["x"])) == (found, found)
    assert checkpoint.restore_newest(tmp_path, {"x": jnp.int32(0)}, last_step=1) is None


def test_a_shared_part_that_comes_out_otherwise_is_refused(tmp_path):
    """Another machine may compute other factors: its run would not be this one."""
    checkpoint.save(tmp_path, 0, make_state(seed=0), SHARED_KERNELS)
    shutil.rmtree(tmp_path / "checkpoints" / "shared")
    with pytest.raises(ValueError, match="kernel as this machine makes it is not"):
        checkpoint.restore_newest(
            tmp_path, make_state(), fresh=lambda: make_state(seed=1)
        )
    assert (tmp_path / "checkpoints" / "0").exists()


def test_a_checkpoint_of_another_config_with_the_same_shapes_is_refused(tmp_path):
    checkpoint.save(tmp_path, 3, make_state(), identity="alpha=0.1")
    same = checkpoint.restore_newest(tmp_path, make_state(), identity="alpha=0.1")
    assert same[0] == 3
    with pytest.raises(ValueError, match="another config or other data.*--workdir"):
        checkpoint.restore_newest(tmp_path, make_state(), identity="alpha=0.2")


def test_the_log_up_to_a_step_lies_beside_its_arrays(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("as it was\n")
    checkpoint.save(tmp_path, 3, make_state())
    (tmp_path / "metrics.jsonl").write_text("later\n")
    assert checkpoint.stored_log(tmp_path, 3) == b"as it was\n"
    assert checkpoint.stored_log(tmp_path, 4) is None


@pytest.mark.parametrize(
    "array",
    [
        np.array([0, 2**32 - 1], np.uint32),
        np.array([True, False]),
        np.array([-128, 127], np.int8),
        np.array([1.5, -0.0, np.nan, np.inf], ml_dtypes.bfloat16),
        np.array([np.nan, -0.0, 1e-45], np.float32),
        np.array(3, np.int32),
        np.zeros((0, 4), np.float32),
        np.array([2**40], np.int64),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_every_type_comes_back_to_the_bit(tmp_path, array):
    checkpoint.save(tmp_path, 1, {"leaf": array})
    _, restored = checkpoint.restore_newest(tmp_path, {"leaf": array})
    assert bits(restored) == bits({"leaf": array})


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_typed_keys_keep_their_generator(tmp_path, impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 2)
    checkpoint.save(tmp_path, 1, keys)
    _, restored = checkpoint.restore_newest(tmp_path, keys)
    assert restored.dtype == keys.dtype and bits(restored) == bits(keys)


@pytest.mark.parametrize("state", [(), {"empty": optax.EmptyState()}])
def test_a_state_without_arrays_comes_back(tmp_path, state):
    checkpoint.save(tmp_path, 4, state)
    assert checkpoint.restore_newest(tmp_path, state) == (4, state)


def test_the_last_three_are_kept_and_the_newest_wins(tmp_path):
    for step in (5, 9, 10, 100):  # as numbers: 100 is newer than 9
        checkpoint.save(tmp_path, step, {"x": jnp.float32(step)})
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["10", "100", "9"]
    step, state = checkpoint.restore_newest(tmp_path, {"x": jnp.float32(0)})
    assert (step, state["x"]) == (100, 100)


def test_what_is_left_of_later_steps_makes_no_new_checkpoint_go(tmp_path):
    """A run that fell back once lost all that it saved, till it had caught up."""
    for step in (10, 15, 20):
        checkpoint.save(tmp_path, step, {"x": jnp.float32(step)})
        os.truncate(tmp_path / f"checkpoints/{step}/manifest.json", 3)
    for step in (3, 6, 9, 12):
        checkpoint.save(tmp_path, step, {"x": jnp.float32(step)})
        found = checkpoint.restore_newest(tmp_path, {"x": jnp.float32(0)})
        assert found == (step, {"x": step})
    left = sorted(map(int, os.listdir(tmp_path / "checkpoints")))
    assert left == [9, 10, 12, 15, 20]


def test_saving_a_step_again_replaces_it(tmp_path):
    for value in (1.0, 2.0):
        checkpoint.save(tmp_path, 5, {"x": jnp.float32(value)})
    assert checkpoint.restore_newest(tmp_path, {"x": jnp.float32(0)})[1]["x"] == 2


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.restore_newest(tmp_path, make_state()) is None


# --- damage


def largest_file(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def truncate(folder):
    path = largest_file(folder / "arrays")
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(folder):
    path = largest_file(folder / "arrays")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        lambda folder: shutil.rmtree(folder / "arrays"),
        lambda folder: os.remove(folder / "manifest.json"),
        lambda folder: os.truncate(folder / "manifest.json", 20),
    ],
    ids=["truncated", "bit flipped", "no arrays", "no manifest", "manifest cut"],
)
def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path, damage, caplog):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make_state(seed=step))
    damage(tmp_path / "checkpoints" / "2")
    step, restored = checkpoint.restore_newest(tmp_path, make_state())
    assert step == 1 and bits(restored) == bits(make_state(seed=1))
    (message,) = caplog.messages
    assert "skipped the damaged checkpoint" in message and "\n" not in message


def test_a_save_cut_short_leaves_the_former_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, make_state(seed=1))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(leaves, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, 2, make_state(seed=2))
    # A kill that ran no clean-up leaves this behind.
    for name in ("3.partial", "2.partial", "1.former"):
        (tmp_path / "checkpoints" / name / "arrays").mkdir(parents=True)
    step, restored = checkpoint.restore_newest(tmp_path, make_state())
    assert step == 1 and bits(restored) == bits(make_state(seed=1))
    checkpoint.save(tmp_path, 3, make_state(seed=3))
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["1", "3"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_the_former_one(
    tmp_path, monkeypatch, error
):
    checkpoint.save(tmp_path, 1, make_state(seed=1))

    def full_disk(*_):
        raise error

    monkeypatch.setattr(ocp.Checkpointer, "save", full_disk)
    with pytest.raises(OSError, match="disk is full.*checkpoints/2") as failure:
        checkpoint.save(tmp_path, 2, make_state(seed=2))
    assert "\n" not in str(failure.value)
    assert os.listdir(tmp_path / "checkpoints") == ["1"]


def test_a_disk_without_room_is_known_before_writing(tmp_path, monkeypatch, capfd):
    checkpoint.save(tmp_path, 1, make_state(seed=1))
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="disk is full.*checkpoints/2"):
        checkpoint.save(tmp_path, 2, make_state(seed=2))
    assert os.listdir(tmp_path / "checkpoints") == ["1"]
    assert capfd.readouterr().err == ""


# --- another shape


@pytest.mark.parametrize(
    ("like", "told"),
    [
        (
            {"w": jnp.zeros((2, 4))},
            "state/w is float32[2, 3] in the checkpoint, float32[2, 4] in this run",
        ),
        (
            {"w": jnp.zeros((2, 3), jnp.int32)},
            "state/w is float32[2, 3] in the checkpoint, int32[2, 3] in this run",
        ),
        (
            {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)},
            "state/b is absent in the checkpoint, float32[3] in this run",
        ),
        ({}, "state/w is float32[2, 3] in the checkpoint, absent in this run"),
    ],
    ids=["shape", "type", "leaf missing", "leaf too many"],
)
def test_a_checkpoint_of_another_network_is_named_leaf_by_leaf(tmp_path, like, told):
    checkpoint.save(tmp_path, 1, {"w": jnp.zeros((2, 3))})
    with pytest.raises(ValueError) as refusal:
        checkpoint.restore_newest(tmp_path, like)
    message = str(refusal.value)
    assert told in message and "another --workdir" in message and "\n" not in message


# --- evaluation.npz


EVALUATION = Evaluation(
    agent="dlerse_con",
    protocol="cold",
    users=np.array([4, 7], np.int32),
    items=np.arange(12, dtype=np.int32).reshape(2, 2, 3),
    num_items=12,
    feedback=np.ones((2, 2, 3), np.uint8),
    num_likes=np.array([3, 5]),
    num_friends=np.array([0, 2]),
    miss_reward=-1.0,
)


def test_an_evaluation_comes_back_as_it_was(tmp_path):
    path = tmp_path / "evaluation.npz"
    checkpoint.write_evaluation(path, EVALUATION)
    restored = checkpoint.read_evaluation(path)
    for field in dataclasses.fields(Evaluation):
        before, after = (getattr(e, field.name) for e in (EVALUATION, restored))
        assert type(after) is type(before), field.name
        np.testing.assert_array_equal(after, before)
    assert os.listdir(tmp_path) == ["evaluation.npz"]


def test_an_evaluation_that_is_not_there_or_not_whole_says_what_to_do(tmp_path):
    path = tmp_path / "evaluation.npz"
    with pytest.raises(FileNotFoundError, match="evaluation.npz.*dlerse train"):
        checkpoint.read_evaluation(path)
    checkpoint.write_evaluation(path, EVALUATION)
    os.truncate(path, 100)
    with pytest.raises(ValueError, match="evaluation.npz.*remove that file"):
        checkpoint.read_evaluation(path)
