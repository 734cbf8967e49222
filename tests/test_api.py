"""The Python calls of the README: what they refuse, and what an override means."""

import jax.numpy as jnp
import pytest

import dlerse_jax as dj
from dlerse_jax.learning.train_loop import seed_keys

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
        ("linucb", {"hops": 2}, "linucb has no setting 'hops'"),
        ("linucb", {"ranks": 2}, "did you mean rank"),
        ("bpr", {"learning_rates": 1.0}, "did you mean learning_rate"),
        ("bpr", {"hops": 2}, "bpr has no setting 'hops'"),
        ("linucp", {}, "agent.name is 'linucp', expected one of"),
    ],
)
def test_a_wrong_word_names_the_right_one(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        dj.make_agent(name, WORLD, **overrides)


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


def test_an_agent_of_another_horizon_is_refused_before_any_compile():
    agent = dj.make_agent("dlerse_con", WORLD, width=8, hidden=8, horizon=5)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    with pytest.raises(ValueError, match="give make_agent horizon=6"):
        dj.train(agent, world, seeds=jnp.arange(1), num_updates=1)


def test_an_agent_that_does_not_learn_trains_to_itself():
    agent = dj.make_agent("linucb", WORLD, rank=4)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=6)
    trained = dj.train(agent, world, seeds=jnp.arange(2), num_updates=10)
    assert trained.history == ()
    evaluation = dj.evaluate(trained, world, WORLD.split.test)
    assert evaluation.feedback.shape == (2, len(WORLD.split.test), 6)
