"""Damage to any file of a checkpoint folder: the right fallback, never wrong bits."""

import itertools
import os
import shutil

import jax
import numpy as np
import pytest

from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.manifest import digest_of

STEPS = (10, 20, 30)


def flip(path, place):
    content = bytearray(path.read_bytes())
    position = int(place * len(content))
    content[position] ^= 1 << (position % 8)
    path.write_bytes(content)


DAMAGES = {
    "flip early": lambda path: flip(path, 0.1),
    "flip": lambda path: flip(path, 0.5),
    "flip late": lambda path: flip(path, 0.95),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "delete": os.remove,
    "braces": lambda path: path.write_text("{}"),
    "list": lambda path: path.write_text("[]"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00" * 50),
}
EVERYWHERE = {"flip", "flip late", "cut", "empty", "delete", "braces"}


def state_at(step):
    draws = np.random.default_rng(step)
    shared = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    return {"own": draws.normal(size=(3, 5)), "shared": shared, "step": np.int32(step)}


AXES = {"own": 0, "shared": None, "step": 0}


def restore(folder):
    return checkpoint.restore_newest(folder, state_at(0), fresh=lambda: state_at(0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for step in STEPS:
        (folder / "metrics.jsonl").write_text(f'{{"step": {step}}}\n')
        checkpoint.save(folder, step, state_at(step), AXES)
    return folder


def files_of(folder):
    root = folder / "checkpoints"
    return sorted(str(p.relative_to(folder)) for p in root.rglob("*") if p.is_file())


def same(found, step):
    return all(
        np.array_equal(a, b)
        for a, b in zip(
            jax.tree.leaves(found), jax.tree.leaves(state_at(step)), strict=True
        )
    )


def test_every_damage_to_every_file_falls_back_and_goes_on(whole, tmp_path, caplog):
    """Newest damaged: the one before. Shared damaged: made again, nothing lost."""
    names = [name for name in files_of(whole) if name.split("/")[1] in ("30", "shared")]
    tried = [
        (name, damage)
        for name, damage in itertools.product(names, DAMAGES)
        if damage in EVERYWHERE or name.endswith("manifest.json")
    ]
    assert len(tried) > 120
    for number, (name, damage) in enumerate(tried):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        before = (folder / name).read_bytes()
        DAMAGES[damage](folder / name)
        is_changed = not (folder / name).exists() or (
            (folder / name).read_bytes() != before
        )
        is_own = name.startswith("checkpoints/30")
        expected = 20 if is_own and is_changed else 30
        caplog.clear()
        step, found = restore(folder)
        assert step == expected and same(found, step), (name, damage)
        assert bool(caplog.messages) == is_changed, (name, damage)
        assert not any("\n" in message for message in caplog.messages)
        assert {"10", "20", "30"} <= set(os.listdir(folder / "checkpoints"))
        shutil.rmtree(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_save_after_the_fallback_mends_the_folder(whole, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for name in ("30/manifest.json", "shared/manifest.json"):
        DAMAGES[damage](folder / "checkpoints" / name)
    assert restore(folder)[0] == 20
    checkpoint.save(folder, 25, state_at(25), AXES)
    assert restore(folder)[0] == 25
    checkpoint.save(folder, 30, state_at(30), AXES)
    found = checkpoint.restore_newest(folder, state_at(0))  # needs no help any more
    assert found[0] == 30 and same(found[1], 30)


@pytest.mark.parametrize("damage", ["flip", "delete", "braces"])
def test_where_all_are_damaged_the_run_starts_anew_and_says_so(
    whole, tmp_path, caplog, damage
):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for step in STEPS:
        DAMAGES[damage](folder / f"checkpoints/{step}/manifest.json")
    assert restore(folder) is None
    assert "has no whole checkpoint: the run starts at update 0" in caplog.messages[-1]
    assert {"10", "20", "30"} <= set(os.listdir(folder / "checkpoints"))


def test_a_digest_is_of_what_is_said_and_not_of_its_order():
    first = {"a": {"x": 1, "y": 2}, "b": 3}
    assert digest_of(first) == digest_of({"b": 3, "a": {"y": 2, "x": 1}})
    assert digest_of(first) != digest_of({"a": {"x": 2, "y": 1}, "b": 3})
