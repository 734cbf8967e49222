"""A run directory alone brings its agent back: no config file, no data files."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from small_agents import assert_same
from tiny import tiny_config

from dlerse_jax.agents.registry import AGENTS
from dlerse_jax.data import dataset_digest, synthetic_dataset
from dlerse_jax.data.storage import known_part
from dlerse_jax.experiment.build import build_agent, build_dataset
from dlerse_jax.experiment.restore import restore_trained
from dlerse_jax.experiment.runner import build_run, train_and_evaluate

QUICK = ("linear_plus", "bpr", "graphrec", "dlerse_plus", "dlerse_rank", "lightgcn")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = tiny_config()
    config.agent.name, config.num_seeds = "bpr", 2
    config.evaluation.baselines, config.evaluation.every = (), 2
    config.offline.bpr.learning_rate = 30.0  # so that the last update is not the best
    folder = tmp_path_factory.mktemp("runs") / "bpr"
    train_and_evaluate(config, folder, quiet=True)
    return config, folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished[1], tmp_path / "copy")


def test_what_comes_back_is_what_was_evaluated(finished):
    config, folder = finished
    run, restored = build_run(config, folder), restore_trained(folder)
    agent, best = restored.agent, run.best
    assert best.update.min() < run.step
    expected = run.states.replace(**{agent.served: best.params})
    assert_same(restored.states, expected)
    assert list(restored.selected) == run.selected
    assert_same(jax.random.key_data(restored.roots), jax.random.key_data(run.roots))
    assert dataset_digest(restored.dataset) == dataset_digest(known_part(run.dataset))


def test_the_kept_data_set_has_no_hidden_feedback(finished):
    _, folder = finished
    dataset = restore_trained(folder).dataset
    hidden = np.concatenate([dataset.split.validation, dataset.split.test])
    assert len(hidden) and not dataset.num_likes[hidden].any()
    assert dataset.num_friends[hidden].any()


@pytest.mark.parametrize("name", QUICK)
def test_an_agent_of_the_known_part_is_the_agent_of_the_whole(name):
    assert name in AGENTS
    config = tiny_config()
    config.rank.candidates, config.rank.folds = 8, 2
    whole = synthetic_dataset(**{**config.data.synthetic, "most_topics": 2})
    key = jax.random.key(3)
    assert_same(
        build_agent(config, known_part(whole), name).init(key),
        build_agent(config, whole, name).init(key),
    )


def test_a_run_that_goes_on_leaves_its_data_set_alone(finished, copied):
    config, _ = finished
    path = copied / "dataset.npz"
    before = path.stat().st_mtime_ns
    build_run(config, copied)
    assert path.stat().st_mtime_ns == before


def test_a_run_from_before_it_was_kept_reads_its_data_again(finished, copied):
    (copied / "dataset.npz").unlink()
    with pytest.warns(UserWarning, match="has no dataset.npz: the data set synthetic"):
        restored = restore_trained(copied)
    expected = restore_trained(finished[1])
    assert dataset_digest(restored.dataset) == dataset_digest(expected.dataset)
    assert_same(restored.states.params, expected.states.params)


def test_the_data_set_of_another_run_is_refused(finished, copied, tmp_path):
    config, _ = finished
    other = build_dataset(config)
    other = dataclasses.replace(other, name="other")
    from dlerse_jax.runs.dataset_file import keep_dataset

    (copied / "dataset.npz").unlink()
    keep_dataset([copied], other, dataset_digest(other))
    with pytest.raises(ValueError, match="dataset.npz is of another data set than"):
        restore_trained(copied)


def test_a_run_that_has_saved_nothing_is_refused(copied):
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(ValueError, match="nothing of its training is saved yet"):
        restore_trained(copied)


def test_a_run_of_another_version_says_which_one_can_be_asked(copied):
    path = copied / "config.json"
    settings = json.loads(path.read_text())
    del settings["sha256"]
    settings["config"]["network"]["of_tomorrow"] = 1
    settings["versions"]["dlerse_jax"] = "9.1"
    path.write_text(json.dumps(settings))
    words = r"config.json, made by version 9\.1 .*'network.of_tomorrow'.*that version"
    with pytest.raises(ValueError, match=words):
        restore_trained(copied)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished, copied):
    newest = copied / "checkpoints" / "4"
    shutil.rmtree(newest / "arrays")
    restored = restore_trained(copied)
    assert int(restored.states.optimizer[0].count[0]) > 0
    assert restored.selected[0]["update"] <= 2


def test_a_run_of_the_warm_protocol_knows_what_its_agent_knew(tmp_path):
    config = tiny_config()
    config.agent.name, config.evaluation.protocol = "popularity", "warm"
    config.evaluation.baselines = ()
    run = build_run(config, tmp_path)
    restored = restore_trained(tmp_path)
    assert np.array_equal(restored.dataset.num_likes, run.task.known.num_likes)
    assert restored.dataset.num_likes.sum() < run.dataset.num_likes.sum()
