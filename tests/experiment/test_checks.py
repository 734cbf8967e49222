"""What no run can be made of is refused before an agent is built."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_config

from dlerse_jax.data import synthetic_dataset
from dlerse_jax.experiment import runner
from dlerse_jax.experiment.checks import (
    check_dataset,
    check_run,
    notes_on_dataset,
    phase_lengths,
)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("agent.name", "dlerse", "agent.name is 'dlerse', expected one of random"),
        ("evaluation.seeds", "apart", "evaluation.seeds is 'apart', expected indiv"),
        ("evaluation.baselines", ("bpr",), "evaluation.baselines names 'bpr'"),
        ("evaluation.every", 3, "evaluation.every is 3, which is not a multiple of"),
        ("q_learning.num_updates", 5, "q_learning.num_updates is 5, which is not"),
        ("q_learning.mask_least", 0.5, "mask_least is 0.5, above q_learning.mask_most"),
        ("data.synthetic.num_items", 11, "num_items is 11, below .*num_communities"),
        ("network.hops", -1, "network.hops must be 0 or more"),
    ],
)
def test_a_config_is_refused_by_its_key_before_the_data_are_read(
    monkeypatch, tmp_path, key, value, message
):
    def read(_):
        raise AssertionError("the data were read")

    monkeypatch.setattr(runner, "build_dataset", read)
    config = tiny_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message):
        runner.build_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("agent", "lengths"),
    [("popularity", (0, 0)), ("bpr", (4, 0)), ("dlerse_rank", (4, 0)), ("dqn", (4, 4))],
)
def test_an_agent_without_a_phase_makes_no_update_of_it(agent, lengths):
    config = tiny_config()
    config.agent.name = agent
    assert tuple(phase_lengths(config).values()) == lengths
    config.q_learning.num_updates = 5  # no multiple of tracking.every
    if lengths[1]:
        with pytest.raises(ValueError, match="not a multiple"):
            check_run(config)
    else:
        check_run(config)


def test_too_few_users_or_items_are_refused_with_what_is_needed():
    config, dataset = tiny_config(), synthetic_dataset(num_users=120, num_items=60)
    check_dataset(config, dataset)
    few = synthetic_dataset(num_users=30, num_items=60)
    with pytest.raises(ValueError, match="30 users are too few.*100 users in all"):
        check_dataset(config, few)
    config.evaluation.least_users = 3
    check_dataset(config, few)
    with pytest.raises(ValueError, match="9 users are too few.*30 users in all"):
        check_dataset(config, synthetic_dataset(num_users=9, num_items=60))
    config.agent.name, config.rank.folds = "dlerse_rank", 25
    with pytest.raises(ValueError, match="between 2 and the 24 training users, got 25"):
        check_dataset(config, few)
    config.evaluation.protocol = "ranking"
    check_dataset(config, dataset)
    small = dataclasses.replace(dataset, item_ids=np.arange(4))
    with pytest.raises(ValueError, match="4 items, and the shortest list .* has 5"):
        check_dataset(config, small)


def test_an_episode_of_nearly_all_items_is_told():
    config, dataset = tiny_config(), synthetic_dataset(num_users=120, num_items=60)
    config.episode.horizon = 30
    assert not list(notes_on_dataset(config, dataset))
    config.episode.horizon = 31
    (note,) = notes_on_dataset(config, dataset)
    assert "shows 31 of 60 items" in note
    assert note.endswith("--config.episode.horizon=7")
    config.episode.horizon = 61  # is refused, and a line about it would be in the way
    assert not list(notes_on_dataset(config, dataset))


def test_what_should_be_known_is_told_before_anything_is_built(monkeypatch, tmp_path):
    def build(*_):
        raise InterruptedError

    monkeypatch.setattr(runner, "build_all", build)
    config, told = tiny_config(), []
    config.episode.horizon = 31
    with pytest.raises(InterruptedError):
        runner.build_runs([config], [tmp_path / "run"], tell=told.append)
    assert list(notes_on_dataset(config, runner.build_dataset(config)))[0] in told
