"""A data set as one file: nothing of it is lost, nothing hidden is in it."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest

from dlerse_jax.data import dataset_digest, synthetic_dataset
from dlerse_jax.data.feedback import training_mask, visible_likes
from dlerse_jax.data.storage import dataset_bytes, known_part, read_dataset
from dlerse_jax.types import ItemFeatures

WORLD = synthetic_dataset(num_users=60, num_items=30, mean_likes=6, most_topics=2)
FEATURES = ItemFeatures(
    items=np.array([0, 29], np.int32),
    columns=np.array([1, 0], np.int32),
    values=np.array([0.5, 2.0], np.float32),
    num_columns=2,
)


@pytest.fixture
def written(tmp_path):
    def write(dataset, **options):
        path = tmp_path / "dataset.npz"
        path.write_bytes(dataset_bytes(dataset, **options))
        return path

    return write


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"taggings": None},
        {"friend_weights": np.linspace(0.5, 1.5, len(WORLD.friend_sources))},
        {"item_titles": tuple(f"Title {i}\n„ü“" for i in range(30))},
        {"user_ids": np.array([f"user {i:02}" for i in range(60)])},
        {"num_newcomers": 3},
        {"num_cold_items": 2, "item_features": FEATURES},
    ],
    ids=lambda changes: ", ".join(changes) or "as it is",
)
def test_a_data_set_comes_back_from_its_file(written, changes):
    dataset = dataclasses.replace(WORLD, **changes)
    found = read_dataset(written(dataset))
    assert dataset_digest(found) == dataset_digest(dataset)


def test_the_known_part_has_no_feedback_of_hidden_users():
    known = known_part(WORLD)
    hidden = ~training_mask(WORLD)
    assert WORLD.num_likes[hidden].all() and not known.num_likes[hidden].any()
    assert not hidden[known.taggings.users].any()
    assert (visible_likes(known) != visible_likes(WORLD)).nnz == 0
    assert np.array_equal(known.friend_sources, WORLD.friend_sources)
    assert known_part(known) is known


def test_a_damaged_file_is_refused_in_one_line(written, tmp_path):
    path = written(WORLD)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"dataset.npz: not a data set.*remove"):
            read_dataset(path)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        place = file.getinfo("liked_items.npy").header_offset + 120
    path.write_bytes(content[:place] + b"\0\1\2\3" + content[place + 4 :])
    with pytest.raises(ValueError, match="not a data set"):
        read_dataset(path)
    with pytest.raises(FileNotFoundError, match="no data set there"):
        read_dataset(tmp_path / "nowhere.npz")


def test_a_part_of_other_data_is_refused(written):
    path = written(WORLD, origin="one")
    read_dataset(path, origin="one")
    with pytest.raises(ValueError, match="another data set than the agent"):
        read_dataset(path, origin="two")
