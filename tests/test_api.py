"""The Python calls of the README: what they refuse, and what an override means."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import config_of_two_seeds

import dlerse_jax as dj
from dlerse_jax import api
from dlerse_jax.experiment import runner
from dlerse_jax.experiment.agent_keys import check_changed
from dlerse_jax.experiment.build import build
from dlerse_jax.experiment.config_files import load_config
from dlerse_jax.learning.train_loop import seed_keys
from dlerse_jax.runs.checkpoint import read_evaluation

WORLD = dj.synthetic_dataset(num_users=60, num_items=40, mean_likes=8.0)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "dlerse_con",
            {"hop": 2},
            "dlerse_con has no setting 'hop'; did you mean hops",
        ),
        (
            "dlerse_con",
            {"learning_rate": 1e-3},
            "could be pretrain.learning_rate or q_learning.learning_rate: give it in "
            "full",
        ),
        ("linucb", {"hops": 2}, "network.hops does nothing for linucb"),
        ("linucb", {"ranks": 2}, "did you mean rank"),
        ("bpr", {"learning_rates": 1.0}, "did you mean learning_rate"),
        ("bpr", {"hops": 2}, "network.hops does nothing for bpr"),
        ("dlerse_con", {"hops": 1.5}, "network.hops cannot be 1.5"),
        ("dlerse_con", {"width": None}, "network.width cannot be None"),
        ("linucp", {}, "agent.name is 'linucp', expected one of"),
        ("dlerse_con", {"alpha": 0.5}, "alpha is not a setting.*make_simulator"),
        ("dlerse_con", {"num_seeds": 9}, "num_seeds is not.*give seeds to train"),
        ("dlerse_con", {"wandb": False}, "wandb is not.*train_and_evaluate"),
        ("dlerse_con", {"select": "last"}, "select is not.*give it to train"),
        ("dlerse_con", {"protocol": "warm"}, "protocol is not.*train_and_evaluate"),
        ("dlerse_con", {"mean_likes": 99}, "mean_likes is not.*synthetic_dataset"),
        ("dlerse_con", {"num_updates": 9}, "num_updates is not.*updates to train"),
        ("dlerse_con", {"ridge_rank": 4}, "plus.ridge_rank does.*take dlerse_plus"),
        ("linear", {"miss": 0.0}, "miss is not a setting of linear"),
        (
            "sadqn",
            {"hops": 2},
            "network.hops does nothing for sadqn, which has 1;.*add",
        ),
        ("deers", {"contrastive_weight": 0.7}, "for deers, which has 0.1;.*dual_gru"),
        ("dlerse_myopic", {"gamma": 0.9}, "dlerse_myopic, which has 0;.*dlerse_con"),
        ("dqn", {"hops": 2}, "while network.fusion is none"),
        ("dlerse_con", {"steps": 2}, "while pretrain.loss is squared"),
        ("dlerse_rank", {"dropout": 0.5}, "network.dropout does nothing for dlerse_ra"),
    ],
)
def test_a_wrong_word_names_the_right_one(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        dj.make_agent(name, WORLD, **overrides)


@pytest.mark.slow
def test_overrides_reach_the_agent_by_last_word_and_in_full():
    agent = dj.make_agent(
        "dlerse_con",
        WORLD,
        width=8,
        hidden=8,
        gamma=0.7,
        **{"q_learning.learning_rate": 0.5, "pretrain.learning_rate": 0.25},
    )
    state = agent.init(seed_keys(jnp.arange(1))[0])
    assert state.settings.gamma == pytest.approx(0.7)
    assert state.settings.learning_rate == pytest.approx(0.5)
    assert state.settings.pretrain_learning_rate == pytest.approx(0.25)
    assert state.params["network"]["head"]["query"]["bias"].shape == (8,)


@pytest.mark.parametrize(
    ("agent", "key", "value"),
    [
        ("popularity", "network.hops", 3),
        ("dlerse_con", "plus.scale", 0.5),
        ("bpr", "q_learning.gamma", 0.5),
    ],
)
def test_a_changed_key_that_does_nothing_is_refused(tmp_path, agent, key, value):
    config = dj.base_config()
    config.update_from_flattened_dict({"agent.name": agent, key: value})
    with pytest.raises(ValueError, match=f"{key} does nothing for {agent}"):
        dj.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", ["lastfm_best", "lastfm_plus", "synthetic", "large"])
def test_configs_of_experiments_are_taken_from_python_too(file, request):
    for option in ("", ":quick"):
        path = request.config.rootpath / "experiments" / f"{file}.py"
        check_changed(load_config(f"{path}{option}"))


def test_an_agent_of_another_horizon_is_refused_before_any_compile():
    agent = dj.make_agent("dlerse_con", WORLD, width=8, hidden=8, horizon=5)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    with pytest.raises(ValueError, match="give make_agent horizon=6"):
        dj.train(agent, world, seeds=jnp.arange(1), q_learning_updates=1)


def test_an_agent_of_another_miss_reward_is_refused_before_any_compile():
    agent = dj.make_agent("dlerse_con", WORLD, width=8, hidden=8, horizon=6, miss=0.0)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    with pytest.raises(ValueError, match="pays 0, in the environment.*miss=-1"):
        dj.train(agent, world, seeds=jnp.arange(1))
    trained = dj.Trained(
        agent=agent, states=None, roots=None, history=(), selected=None
    )
    with pytest.raises(ValueError, match="give make_agent miss=-1"):
        dj.evaluate(trained, world, WORLD.split.test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_updates": 1}, "no num_updates any more: it is q_learning_updates"),
        ({"num_fits": 1}, "no num_fits any more: it is pretrain_updates"),
        ({"select": "any_phase"}, "select='any_phase' needs validation users"),
        ({"validation": WORLD.split.test[:0]}, "validation is empty"),
        ({"validation": WORLD.split.test, "select": "first"}, "select is 'first', exp"),
        ({"validate_every": 0}, "evaluation.every must be 1 or more, got 0"),
        ({"validate_every": -2}, "evaluation.every must be 1 or more, got -2"),
        ({"pretrain_updates": -1}, "pretrain.num_updates must be 0 or more, got -1"),
        ({"pretrain_updates": 1.5}, "pretrain.num_updates is 1.5, expected a whole"),
        ({"q_learning_updates": "3"}, "num_updates is '3', expected a whole number"),
        ({"validation": [0, -1]}, "validation users have -1, and the world has users"),
        ({"seeds": 3}, "seeds are 3, expected whole numbers"),
        ({"seeds": []}, "expected whole numbers .S., at least one"),
        ({"seeds": np.array([0.5])}, "expected whole numbers .S., at least one"),
        ({"seeds": [2**40]}, "seeds have 1099511627776, expected at most"),
        ({"seeds": seed_keys(jnp.arange(2))}, "expected whole numbers .S., at least"),
    ],
)
def test_training_that_makes_no_sense_is_refused(options, message):
    agent = dj.make_agent("linucb", WORLD, rank=4)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    with pytest.raises(ValueError, match=message):
        dj.train(agent, world, **{"seeds": jnp.arange(1)} | options)


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([-1], "users have -1, and the world has users 0 to 59"),
        ([60], "users have 60, and the world has users 0 to 59"),
        ([4, 7, 4], "users have 4 more than once"),
        ([], "expected indices .B. of one user or more"),
        ([0.5], "an array of shape .1,. and type float64, expected indices"),
        ([[1, 2]], "an array of shape .1, 2. and type int64"),
        (np.ones(60, bool), "np.flatnonzero makes them of a mask"),
        ("test", "users are 'test', expected indices"),
        (3, "users are 3, expected indices"),
    ],
)
def test_users_who_are_none_are_not_evaluated(users, message):
    agent = dj.make_agent("random", WORLD)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    trained = dj.train(agent, world, seeds=[0])
    with pytest.raises(ValueError, match=message):
        dj.evaluate(trained, world, users)


def test_a_name_that_is_none_is_not_the_default_agent():
    for name in ("", None, 3):
        with pytest.raises(ValueError, match=f"name is {name!r}, expected one of"):
            dj.make_agent(name, WORLD)


@pytest.mark.slow
@pytest.mark.usefixtures("one_program")
def test_python_and_the_command_end_with_the_same_episodes(tmp_path, monkeypatch):
    """Selected by the same users in the same way: the same answers of test users.

    Chunks are those of the run, which compile for long; what calls them is compared.
    """
    made, make = [], runner.Programs

    def chunk_of_the_run(_, phase, size):
        assert size == config.tracking.every

        def chunk(states, world, roots, *numbers):
            world = world.replace(alpha=jnp.full(len(roots), world.alpha))
            return made[0](phase, states, world, roots, *map(jnp.int32, numbers))

        return chunk

    monkeypatch.setattr(
        runner, "Programs", lambda *of: made.append(make(*of)) or made[0]
    )
    monkeypatch.setattr(api, "train_chunk", chunk_of_the_run)
    config = config_of_two_seeds()
    config.reward.alpha = 0.2
    config.pretrain.learning_rate = config.q_learning.learning_rate = 0.05
    config.optimizer.average_step = 1.0
    summary = dj.train_and_evaluate(config, tmp_path, quiet=True)
    found = build(config)
    trained = dj.train(
        found.agent,
        found.environment,
        seeds=jnp.arange(2),
        pretrain_updates=4,
        q_learning_updates=4,
        validation=found.dataset.split.validation,
        validate_every=2,
    )
    assert list(trained.selected) == summary["selected"]
    ours = dj.evaluate(trained, found.environment, found.dataset.split.test)
    theirs = read_evaluation(tmp_path / "evaluation.npz")
    assert np.array_equal(ours.items, theirs.items)
    assert np.array_equal(ours.feedback, theirs.feedback)


def test_without_validation_users_the_last_parameters_are_kept():
    agent = dj.make_agent("bpr", WORLD, width=4, batches=1, batch_size=8)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    trained = dj.train(agent, world, seeds=jnp.arange(1), pretrain_updates=3)
    assert trained.selected == ({"phase": "pretrain", "update": 3},)


def test_an_agent_that_does_not_learn_trains_to_itself():
    agent = dj.make_agent("linucb", WORLD, rank=4)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    trained = dj.train(agent, world, seeds=jnp.arange(2), q_learning_updates=10)
    assert trained.history == ()
    evaluation = dj.evaluate(trained, world, WORLD.split.test)
    assert evaluation.feedback.shape == (2, len(WORLD.split.test), 6)
