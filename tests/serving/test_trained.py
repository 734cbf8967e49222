"""What was trained in Python is saved, loaded, copied, pickled and asked."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import assert_same, everyday_agent
from worlds import friends_decide

import dlerse_jax as dj

WORLD = dataclasses.replace(
    dj.synthetic_dataset(num_users=60, num_items=40, mean_likes=8.0),
    user_ids=np.array([f"user {i:02}" for i in range(60)]),
    item_titles=tuple(f"Title {i}" for i in range(40)),
)


@pytest.fixture(scope="module")
def trained():
    agent = dj.make_agent("bpr", WORLD, width=4, batches=2)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=5)
    return dj.train(agent, world, seeds=jnp.array([3, 5]), pretrain_updates=1)


def assert_twins(ours, theirs):
    assert_same(jax.tree.leaves(ours.states), jax.tree.leaves(theirs.states))
    assert_same(*(jax.random.key_data(each.roots) for each in (ours, theirs)))
    assert ours.selected == theirs.selected
    for one, other in zip(ours.history, theirs.history, strict=True):
        assert one.keys() == other.keys()
        assert_same(list(one.values()), list(other.values()))


def test_saved_and_loaded_is_as_before(trained, tmp_path):
    trained.save(tmp_path / "kept")
    loaded = dj.load(tmp_path / "kept")
    assert_twins(loaded, trained)
    ours = loaded.recommender(seed=1).recommend(user="user 07", k=3)
    assert ours == trained.recommender(seed=1).recommend(user="user 07", k=3)
    assert ours == dj.Recommender.load(tmp_path / "kept", seed=1).recommend(
        user="user 07", k=3
    )
    assert ours[0].title.startswith("Title ")


def test_a_loaded_agent_goes_on_being_evaluated(trained, tmp_path):
    trained.save(tmp_path)
    world = dj.make_simulator(WORLD, alpha=0.0, horizon=5)
    ours, theirs = (
        dj.evaluate(each, world, WORLD.split.test)
        for each in (dj.load(tmp_path), trained)
    )
    assert np.array_equal(ours.items, theirs.items)


def test_it_can_be_copied_and_pickled(trained):
    assert_twins(pickle.loads(pickle.dumps(trained)), trained)
    assert_twins(copy.copy(trained), trained)
    assert_twins(copy.deepcopy(trained), trained)


def test_no_hidden_feedback_leaves_with_it(trained, tmp_path):
    trained.save(tmp_path)
    hidden = np.concatenate([WORLD.split.validation, WORLD.split.test])
    for data in (
        dj.load(tmp_path).source.dataset,
        pickle.loads(pickle.dumps(trained)).source.dataset,
        trained.recommender().dataset,
    ):
        assert WORLD.num_likes[hidden].all() and not data.num_likes[hidden].any()


def test_nothing_is_written_over(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something already.*new or empty"):
        trained.save(tmp_path)
    with pytest.raises(ValueError, match="holds something already"):
        trained.save(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_agent_made_by_hand_says_what_to_do(tmp_path):
    trained = dj.Trained(
        agent=everyday_agent(friends_decide()),
        states=None,
        roots=jax.random.split(jax.random.key(0), 1),
        history=(),
        selected=None,
    )
    for act in (
        pickle.dumps,
        lambda it: it.save(tmp_path / "new"),
        lambda it: it.recommender(),
    ):
        with pytest.raises(ValueError, match="was not made by make_agent"):
            act(trained)
    assert not (tmp_path / "new").exists()


def test_a_damaged_description_is_named(trained, tmp_path):
    trained.save(tmp_path)
    (tmp_path / "trained.json").write_text('{"keys": [')
    with pytest.raises(ValueError, match="trained.json is not what was written"):
        dj.load(tmp_path)
