"""config.json and summary.json: what ran, on which data, and what is refused."""

import json

import numpy as np
import pytest

from dlerse_jax.defaults import base_config
from dlerse_jax.runs import directory
from dlerse_jax.runs.records import find_runs, read_run

CONFIG = {"reward": {"alpha": 0.1}, "network": {"hops": 2, "widths": (64, 32)}}


def test_config_says_what_ran_and_where(tmp_path):
    directory.write_config(tmp_path, CONFIG)
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["config"]["network"] == {"hops": 2, "widths": [64, 32]}
    assert about["versions"]["jax"] and about["versions"]["python"]
    assert about["device"]["platform"] == "cpu" and about["device"]["count"] >= 1
    assert {"git_commit", "created"} <= about.keys()


def test_the_same_config_resumes(tmp_path):
    directory.write_config(tmp_path, CONFIG)
    before = (tmp_path / "config.json").read_bytes()
    directory.write_config(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_bytes() == before
    assert directory.read_config(tmp_path)["reward"] == {"alpha": 0.1}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"reward": {"alpha": 0.2}}, "reward.alpha is 0.1 there and 0.2 in this run"),
        ({"seed": 1}, "seed is 0 there and 1 in this run"),
        ({"strange": 1}, "strange is absent there and 1 in this run"),
        ({"reward": {}}, "reward.alpha is 0.1 there and absent in this run"),
        ({"network": {"hops": 2}}, "network.widths is [64, 32] there and absent"),
    ],
)
def test_another_config_is_refused_by_its_first_differing_key(tmp_path, changed, told):
    directory.write_config(tmp_path, CONFIG)
    with pytest.raises(ValueError) as refusal:
        directory.write_config(tmp_path, CONFIG | changed)
    message = str(refusal.value)
    assert told in message and "\n" not in message
    assert "take another --workdir, or the value there" in message
    assert "remove" not in message


def test_a_key_that_is_younger_than_the_run_has_its_default_there(tmp_path):
    directory.write_config(tmp_path, CONFIG | {"baseline": {"linear": {}}})
    younger = base_config()
    changed = {"seed": 0, "baseline": {"linear": younger.baseline.linear.to_dict()}}
    directory.write_config(tmp_path, CONFIG | changed)
    changed["baseline"]["linear"]["regularisation"] += 1
    with pytest.raises(directory.OtherConfig, match="baseline.linear.regularisation"):
        directory.check_config(tmp_path, CONFIG | changed)


def test_a_folder_that_is_no_run_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="dlerse train"):
        directory.read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="config.json.*--workdir"):
        directory.read_config(tmp_path)


def test_a_summary_takes_numbers_of_numpy_and_of_nobody(tmp_path):
    summary = {"reward": {"mean": np.float32(0.5), "interval": np.array([0.25, 0.75])}}
    directory.write_summary(tmp_path, summary | {"loss": float("nan")})
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "reward": {"mean": 0.5, "interval": [0.25, 0.75]},
        "loss": None,
    }


def test_other_data_are_refused_and_named_as_such(tmp_path):
    directory.write_config(tmp_path, CONFIG, data_digest="as it was")
    directory.write_config(tmp_path, CONFIG, data_digest="as it was")
    with pytest.raises(ValueError, match="the data are not those of this run") as told:
        directory.write_config(tmp_path, CONFIG, data_digest="changed")
    assert "config is the same" in str(told.value)


def test_runs_that_are_compared_have_the_same_data(tmp_path):
    young = CONFIG | {"data": {"path": "x"}}  # the others have their defaults
    directory.write_config(tmp_path / "a", young, data_digest="as it was")
    full = {"data": base_config().data.to_dict() | {"path": "x"}}
    directory.check_data_beside(tmp_path, full, "as it was")
    other = {"data": full["data"] | {"split": 1}}
    directory.check_data_beside(tmp_path, other, "changed")
    with pytest.raises(ValueError, match="a: the data are not those of this run"):
        directory.check_data_beside(tmp_path, full, "changed")


def test_how_many_runs_were_begun_together_stays_as_it_was(tmp_path):
    directory.write_config(tmp_path, CONFIG, runs_in_program=3)
    directory.write_config(tmp_path, CONFIG, runs_in_program=2)
    assert directory.runs_in_program(tmp_path) == 3


def test_devices_alone_may_differ(tmp_path):
    one, other = ({**CONFIG, "devices": {"users": n}} for n in (1, 2))
    directory.write_config(tmp_path, one)
    directory.write_config(tmp_path, other)
    assert directory.run_identity(one, "d") == directory.run_identity(other, "d")
    assert directory.run_identity(one, "d") != directory.run_identity(one, "e")
    assert directory.run_identity(one, "d") != directory.run_identity(
        CONFIG | {"a": 1}, "d"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"5",
        b"[]",
        b"{}",
        b'{"config": 3}',
        b"\xff\xfe",
        b"[" * 10**5,
    ],
)
def test_a_damaged_config_says_what_can_be_saved_and_loses_nothing(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    for read in (directory.read_config, read_run):
        with pytest.raises(ValueError, match="config.json.*goes on from them") as told:
            read(tmp_path)
        assert "remove" not in str(told.value) and "\n" not in str(told.value)


def test_every_flipped_bit_of_a_config_is_noticed(tmp_path):
    directory.write_config(tmp_path, CONFIG, data_digest="digest")
    path = tmp_path / "config.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        try:
            found = directory.read_settings(tmp_path)
        except ValueError as refusal:
            assert "config.json" in str(refusal)
        else:  # the name of the checksum itself
            assert found["config"] == {
                **CONFIG,
                "network": {"hops": 2, "widths": [64, 32]},
            }


def test_a_run_of_an_old_version_is_named_by_it(tmp_path):
    old = {"config": {"fit": {"num_updates": 3}}, "versions": {"dlerse_jax": "0.1.0"}}
    (tmp_path / "config.json").write_text(json.dumps(old))
    for refuse in (
        lambda: directory.write_config(tmp_path, CONFIG),
        lambda: find_runs(tmp_path),
    ):
        with pytest.raises(ValueError, match="made by version 0.1.0 .*section 'fit'"):
            refuse()


@pytest.mark.parametrize("content", ["5", "null", "[]", "{", ""])
def test_a_damaged_summary_is_one_line(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ValueError, match="summary.json.*run the same command again"):
        directory.read_summary(tmp_path)
