"""linear_plus is what dlerse_plus starts as, and needs neither friends nor tags."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config
from worlds import make_world

from dlerse_jax.agents.classical.linear_plus import linear_plus
from dlerse_jax.baseline_defaults import BASELINES
from dlerse_jax.data import load_dataset, synthetic_dataset
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.experiment.build import build_agent
from dlerse_jax.learning.train_loop import init_states, seed_keys

HORIZON = 12


def _config():
    """Both agents with the same numbers, none of them one that does nothing."""
    config = tiny_config()
    config.episode.horizon = HORIZON
    config.network.factor_regularisation = 20.0
    config.plus.ridge_rank, config.plus.ridge_regularisation = 6, 1.5
    config.plus.min_tag_uses, config.plus.activity_power = 2, 0.5
    network, plus, own = config.network, config.plus, config.baseline.linear_plus
    own.rank, own.regularisation = network.width, network.factor_regularisation
    own.answer_weight, own.dislike_weight = network.session_gain, network.dislike_weight
    own.update({key: plus[key] for key in own if key in plus})
    return config


@functools.cache
def _world():
    """A social world with friendless users, counts of listening and tags."""
    world = synthetic_dataset(
        split=0,
        seed=3,
        num_users=120,
        num_items=60,
        num_communities=6,
        most_topics=3,
        mean_likes=10.0,
        mean_friends=5.0,
        homophily=0.8,
        friendless_share=0.3,
    )
    counts = np.random.default_rng(3).integers(1, 50, len(world.liked_items))
    return dataclasses.replace(world, like_weights=counts.astype(np.float32))


def _unseen(world):
    return np.concatenate([world.split.validation, world.split.test])


@functools.cache
def _program(name):
    """One for all states: what differs between two of them is in the states."""
    return greedy_rollout(build_agent(_config(), _world(), name))


def _shown(config, world, name, users):
    """Items that the untrained agent shows: [B, T]."""
    agent = build_agent(config, world, name)
    roots = seed_keys(jnp.arange(1))
    simulator = make_simulator(world, alpha=0.0, horizon=config.episode.horizon)
    evaluation = evaluate_users(
        _program(name),
        init_states(agent, roots),
        simulator,
        users,
        roots,
        agent_name=name,
    )
    return evaluation.items[0]


@pytest.mark.parametrize("has_tags", [True, False], ids=["tags", "no tags"])
def test_it_plays_what_an_untrained_dlerse_plus_plays(has_tags):
    world = _world()
    assert world.taggings is not None
    if not has_tags:
        world = dataclasses.replace(world, taggings=None)
    users = _unseen(world)
    assert (world.num_friends[users] == 0).any()
    ours, reference = (
        _shown(_config(), world, name, users) for name in ("linear_plus", "dlerse_plus")
    )
    np.testing.assert_array_equal(ours, reference)


OTHER_NUMBERS = {
    "prior_weight": 20.0,
    "two_hop_weight": 3.0,
    "far_hops": 3,
    "activity_power": 2.0,
    "answer_weight": 12.0,
    "dislike_weight": 1.0,
    "regularisation": 200.0,
    "rank": 3,
    "ridge_weight": 4.0,
    "ridge_power": 0.1,
    "ridge_rank": 2,
    "ridge_regularisation": 12.0,
    "rank_weight": 0.0,
    "tag_weight": 4.0,
    "min_tag_uses": 1000,
}


@pytest.mark.parametrize("key", OTHER_NUMBERS)
def test_every_number_changes_what_is_shown(key):
    world, config = _world(), _config()
    users = _unseen(world)
    before = _shown(config, world, "linear_plus", users)
    config.baseline.linear_plus[key] = OTHER_NUMBERS[key]
    assert (_shown(config, world, "linear_plus", users) != before).any()


def test_no_number_is_left_out_above():
    assert set(OTHER_NUMBERS) == set(base_config().baseline.linear_plus)


def test_defaults_are_those_of_dlerse_plus():
    config = base_config()
    own = config.baseline.linear_plus.to_dict()
    of_network = {
        "rank": "width",
        "regularisation": "factor_regularisation",
        "answer_weight": "session_gain",
        "dislike_weight": "dislike_weight",
    }
    expected = {key: config.network[name] for key, name in of_network.items()}
    expected |= {key: config.plus[key] for key in own if key in config.plus}
    assert own == expected


def test_nobody_with_a_friend_and_no_tags_is_no_obstacle():
    likes = np.random.default_rng(0).random((30, 20)) < 0.4
    world = make_world(likes, num_validation=3, num_test=3)
    config = _config()
    users = world.split.test
    shown = _shown(config, world, "linear_plus", users)
    assert (shown < world.num_items).all()
    first = np.bincount(world.liked_items[: world.like_offsets[24]], minlength=20)
    assert first[shown[:, 0]].min() >= np.sort(first)[-3]  # something popular


def test_the_bar_is_in_every_run():
    assert "linear_plus" in base_config().evaluation.baselines == BASELINES


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ridge_rank", 0, "ridge_rank must be 1 or more, got 0"),
        ("ridge_weight", -1.0, "ridge_weight must not be negative, got -1.0"),
        ("ridge_regularisation", 0.0, "ridge_regularisation must be above 0"),
        ("tag_weight", -1.0, "tag_weight must not be negative, got -1.0"),
        ("min_tag_uses", 0, "min_tag_uses must be 1 or more, got 0"),
    ],
)
def test_wrong_numbers_are_named(key, value, message):
    numbers = _config().baseline.linear_plus.to_dict() | {key: value}
    world = make_world(np.eye(12), num_validation=1, num_test=1)
    with pytest.raises(ValueError, match=message):
        linear_plus(world, **numbers)


def test_its_precision_on_lastfm_is_that_of_dlerse_plus_before_training(shared_data):
    lastfm = load_dataset("lastfm", shared_data / "lastfm", split=0)
    users = lastfm.split.test
    shown = _shown(base_config(), lastfm, "linear_plus", users)
    likes = np.zeros((lastfm.num_users, lastfm.num_items), bool)
    rows = np.repeat(np.arange(lastfm.num_users), lastfm.num_likes)
    likes[rows, lastfm.liked_items] = True
    precision = likes[users[:, None], shown].mean()
    assert precision == pytest.approx(0.378, abs=0.02)  # users of a split: +- .009
