"""Promises of the protocols: what is shown, what is hidden, how the odd user counts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_agents import small_agent
from tiny import tiny_config
from worlds import make_world, random_world

from dlerse_jax.agents.classical.bandits import mf_mean
from dlerse_jax.agents.classical.ease import ease_popularity
from dlerse_jax.agents.classical.popularity import popularity
from dlerse_jax.environment.rollout import prime
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation import episodes as batched
from dlerse_jax.evaluation.evaluator import make_evaluator
from dlerse_jax.evaluation.protocols import (
    candidate_lists,
    hold_out,
    liked_mask,
    make_task,
)
from dlerse_jax.experiment import build, runner
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.types import Agent, Taggings

task_of = functools.partial(
    make_task, split=0, others_per_like=2, ranking_of="warm", most_users=0
)
ease = functools.partial(
    ease_popularity, rank=4, regularisation=1.0, answer_weight=3.0, dislike_weight=0.1
)
ROOTS = seed_keys(jnp.arange(1))
NOTHING = 1e9  # stands for nan in comparisons


def evaluated(make_agent, task, horizon):
    """What an agent that is built for a task does in it."""
    agent = make_agent(task.known)
    world = make_simulator(task.known, alpha=0.0, horizon=horizon)
    states = init_states(agent, ROOTS)
    return make_evaluator(agent, task)(states, world, task.users, ROOTS)


def in_order(dataset) -> Agent:
    """Prefers items by their index, whatever happens."""
    order = -jnp.arange(dataset.num_items, dtype=jnp.float32)
    return Agent(
        name="in_order",
        init=lambda key: jnp.zeros(()),
        context=lambda state, hidden: (),
        begin=lambda state, context, user, key: (),
        observe=lambda state, context, memory, observation: memory,
        scores=lambda state, context, memory, items: (
            order if items is None else order[items]
        ),
    )


# --- cold_candidates


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), others_per_like=st.integers(1, 9))
def test_a_candidate_list_is_all_likes_and_so_many_others(seed, others_per_like):
    world = random_world(seed)
    users = world.split.test
    lists = candidate_lists(world, users, split=3, others_per_like=others_per_like)
    for items, likes in zip(lists, liked_mask(world, users), strict=True):
        size = min(likes.sum() * (1 + others_per_like), world.num_items)
        assert (np.diff(items[:size]) > 0).all()  # ascending, so none is there twice
        assert (items[size:] == world.num_items).all()
        assert likes[items[:size]].sum() == likes.sum()


@pytest.mark.parametrize("num_likes, length", [(1, 4), (2, 8), (3, 16), (9, 20)])
def test_lists_of_any_split_have_one_of_few_lengths(num_likes, length):
    world = make_world(np.arange(20)[None] < [[num_likes]] * 2)
    lists = candidate_lists(world, np.array([0, 1]), split=0, others_per_like=3)
    assert lists.shape == (2, length)  # 9 likes would make 36 of them; N is 20


def test_a_list_depends_on_split_and_user_but_not_on_who_else_is_asked():
    world = make_world(np.arange(400).reshape(4, 100) % 10 == 0)
    draw = functools.partial(candidate_lists, world, others_per_like=3)
    together = draw([0, 1, 2], split=0)
    np.testing.assert_array_equal(draw([2], split=0), together[2:])
    assert (draw([2], split=1) != together[2:]).any()
    assert (together[1] != together[2]).any()  # they like the same items


def test_a_short_list_ends_in_empty_steps_that_count_as_misses():
    likes = np.zeros((20, 10), bool)
    likes[:18, ::2] = True
    likes[18, 3] = True  # three candidates at r = 2, user 19 has none
    task = task_of("cold_candidates", make_world(likes, num_test=2))
    found = evaluated(popularity, task, horizon=5)
    shown = found.evaluation.items[0] < 10
    np.testing.assert_array_equal(shown, [[1, 1, 1, 0, 0], [0] * 5])
    metrics = {
        name: np.nan_to_num(x[0], nan=NOTHING) for name, x in found.metrics.items()
    }
    np.testing.assert_allclose(metrics["precision_at_5"], [1 / 5, 0])
    np.testing.assert_allclose(metrics["recall_at_5"], [1, NOTHING])
    np.testing.assert_allclose(metrics["reward_alpha_0"], [-1 / 3, NOTHING], rtol=1e-6)


# --- warm


@pytest.mark.parametrize(
    "likes, held", [(0, 0), (1, 0), (2, 1), (5, 1), (7, 1), (8, 2), (38, 8), (50, 10)]
)
def test_a_fifth_of_the_likes_is_held_out(likes, held):
    world = make_world(np.arange(50)[None] < [[50], [likes]])
    known, held_out, past = hold_out(world, split=0)
    assert np.sum(held_out >= 50) == held
    np.testing.assert_array_equal(np.sort(past), known)
    np.testing.assert_array_equal(np.union1d(known, held_out), np.arange(50 + likes))


def test_another_split_holds_out_other_likes():
    world = make_world(np.ones((3, 50)))
    first, again, other = (hold_out(world, split=split)[1] for split in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_nothing_says_which_like_of_a_past_came_first():
    """Somebody's likes stand by index: an order that agents could learn from."""
    world = make_world(np.ones((3, 50)))
    task, again = (task_of("warm", world) for _ in range(2))
    past = task.history(np.arange(3))
    for items in past:
        assert 10 < (np.diff(items) > 0).sum() < 29
    assert (past[0] != past[1]).any()
    np.testing.assert_array_equal(past, again.history(np.arange(3)))
    other = task_of("warm", world, split=1).history(np.arange(3))
    assert (past != other).any()


def test_a_warm_task_tells_every_user_their_past_and_asks_for_the_rest():
    world = random_world()
    task = task_of("warm", world)
    everybody = np.arange(world.num_users)
    known, answers = (liked_mask(d, everybody) for d in (task.known, task.answers))
    np.testing.assert_array_equal(known ^ answers, liked_mask(world, everybody))
    np.testing.assert_array_equal(task.known.split.train, everybody)
    asked = np.union1d(task.users, task.validation)
    np.testing.assert_array_equal(asked, everybody[answers.any(axis=1)])
    for user, past in zip(everybody, task.history(everybody), strict=True):
        past = past[past < world.num_items]
        np.testing.assert_array_equal(np.sort(past), np.flatnonzero(known[user]))


@pytest.mark.parametrize("protocol", ["warm", "ranking"])
def test_nobody_selects_checkpoints_and_is_asked_too(protocol):
    world = random_world()
    task = task_of(protocol, world)  # a ranking of `warm` users
    assert len(task.validation) and len(task.users)
    assert np.isin(task.validation, world.split.validation).all()
    assert not np.isin(task.users, world.split.validation).any()


def test_a_word_about_a_held_out_item_is_held_out_too():
    world = random_world()
    users = np.repeat(np.arange(world.num_users), world.num_likes).astype(np.int32)
    every_like = Taggings(
        users=users,
        items=world.liked_items,
        tags=np.zeros(len(users), np.int32),
        num_tags=1,
    )
    tagged = dataclasses.replace(world, taggings=every_like)
    known = task_of("warm", tagged).known
    np.testing.assert_array_equal(known.taggings.items, known.liked_items)


def test_a_user_of_whom_nothing_is_held_out_is_not_asked():
    likes = np.ones((20, 6), bool)
    likes[[7, 19]] = np.arange(6) == 2
    task = task_of("warm", make_world(likes, num_validation=13))
    assert task.users.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert task.validation.tolist() == list(range(8, 19))
    likes[3] = likes[7]
    task = task_of("warm", make_world(likes, num_validation=13))
    assert 3 not in task.users


def test_the_past_is_never_shown_again_and_all_else_is_shown_once():
    world = random_world()
    task = task_of("warm", world)
    played = evaluated(ease, task, horizon=world.num_items).evaluation
    past = task.history(task.users)
    for items, before in zip(played.items[0], past, strict=True):
        seen = np.concatenate([items, before])
        seen = seen[seen < world.num_items]
        np.testing.assert_array_equal(np.sort(seen), np.arange(world.num_items))
    np.testing.assert_array_equal(played.feedback[0].sum(axis=1), played.num_likes)
    np.testing.assert_array_equal(played.num_friends, world.num_friends[task.users])


def test_a_past_is_a_row_of_likes_ahead_of_the_first_step():
    world = random_world()

    def note(state, context, memory, seen):
        numbers = seen.item, seen.liked, seen.step, seen.like_streak
        return jnp.roll(memory, 1, axis=0).at[0].set(jnp.stack(numbers))

    agent = dataclasses.replace(in_order(world), observe=note)
    simulator = make_simulator(world, alpha=0.0, horizon=4)
    _, before = simulator.reset(jax.random.key(0), jnp.int32(0))
    past = jnp.array([3, 7, world.num_items])
    noted = prime(agent, None, None, jnp.full((3, 4), -1.0), before, past)
    np.testing.assert_array_equal(noted, [[7, 1, 0, 0], [3, 1, 0, 0], [-1] * 4])


def memory_after(agent, world):
    """A function of a past: all numbers the agent then carries, in one row."""
    simulator = make_simulator(world, alpha=0.0, horizon=4)

    @jax.jit
    def remember(history):
        state = agent.init(jax.random.key(0))
        context = agent.context(state, jnp.zeros(world.num_users, bool))
        user = jnp.int32(0)
        _, before = simulator.reset(jax.random.key(0), user)
        memory = agent.begin(state, context, user, jax.random.key(1))
        memory = prime(agent, state, context, memory, before, history)
        leaves = [x for x in jax.tree.leaves(memory) if x.dtype == jnp.float32]
        return jnp.concatenate([jnp.ravel(x) for x in leaves])

    return lambda history: np.array(remember(jnp.array(history, jnp.int32)))


def gru(world):
    return small_agent(world, horizon=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, order_matters",
    [
        (ease, False),
        (functools.partial(mf_mean, rank=2, regularisation=1.0), False),
        (gru, True),
    ],
)
def test_the_past_is_remembered_without_its_padding(make, order_matters):
    world = random_world()
    nothing = world.num_items
    memory_of = memory_after(make(world), world)
    memory = memory_of([3, 7, 1, nothing])
    padded = memory_of([nothing, 3, 7, 1])
    np.testing.assert_allclose(memory, padded, rtol=1e-5, atol=1e-6)
    assert np.abs(memory - memory_of([3, 7, 2, nothing])).max() > 1e-3
    reordered = memory_of([1, 7, 3, nothing])
    assert (np.abs(memory - reordered).max() > 1e-3) == order_matters


def with_likes(dataset, mask):
    """The data set with other likes: mask [U, N]."""
    return dataclasses.replace(
        dataset,
        like_offsets=np.concatenate([[0], np.cumsum(mask.sum(axis=1))]),
        liked_items=np.nonzero(mask)[1].astype(np.int32),
        like_weights=np.ones(mask.sum(), np.float32),
    )


@pytest.mark.slow
def test_what_is_held_out_reaches_no_agent_and_no_world_it_learns_in(
    tmp_path, monkeypatch
):
    config = tiny_config()
    config.agent.name = "ease_friends"
    config.evaluation.protocol = "warm"
    ours = runner.build_run(config, tmp_path / "ours")
    everybody = np.arange(ours.dataset.num_users)
    known = liked_mask(ours.task.known, everybody)
    others = ~liked_mask(ours.dataset, everybody)  # instead of what was held out
    dataset = with_likes(ours.dataset, known | others)
    task = dataclasses.replace(ours.task, answers=with_likes(dataset, others))
    monkeypatch.setattr(build, "build_dataset", lambda config: dataset)
    monkeypatch.setattr(build, "build_task", lambda config, dataset: task)
    reference = runner.build_run(config, tmp_path / "theirs")
    jax.tree.map(
        np.testing.assert_array_equal,
        (ours.states, ours.world),
        (reference.states, reference.world),
    )
    hits, misses = (
        run.evaluate(task.users).metrics["precision_at_1"] for run in (ours, reference)
    )
    assert hits.mean() != misses.mean()


# --- ranking


def direct_ranking(order, relevant):
    """Metrics at 5 of one ranking, in plain NumPy: order [A] items, relevant [N]."""
    hits = relevant[order]
    discounts = 1 / np.log2(np.arange(2, 7))
    places = np.flatnonzero(hits)
    misses_below = [np.sum(~hits[place:]) for place in places]
    return {
        "precision_at_5": hits[:5].mean(),
        "recall_at_5": hits[:5].sum() / relevant.sum(),
        "ndcg_at_5": hits[:5] @ discounts / discounts[: relevant.sum()].sum(),
        "mrr": 1 / (1 + places[0]),
        "auc": np.sum(misses_below) / (len(places) * np.sum(~hits)),
    }


def check_ranking(found, orders, relevant):
    expected = [direct_ranking(*user) for user in zip(orders, relevant, strict=True)]
    for name in expected[0]:
        values = [user[name] for user in expected]
        np.testing.assert_allclose(found.metrics[name], [values], rtol=1e-6)
    assert found.evaluation is None
    assert found.summary()["num_users"] == len(relevant)


def test_a_cold_ranking_of_popularity_is_that_of_numpy():
    draws = np.random.default_rng(0)
    train = np.triu(np.ones((12, 12), bool)).T  # item i is liked by 12 - i users
    shuffled = draws.permutation(12)
    test = draws.random((6, 12)) < 0.4
    test[:, 0] = True
    likes = np.concatenate([train, test])[:, shuffled]
    task = task_of("ranking", make_world(likes, num_test=6), ranking_of="cold")
    found = evaluated(popularity, task, horizon=1)
    order = np.argsort(-likes[:12].sum(axis=0))
    check_ranking(found, [order] * 6, likes[12:])


def test_a_warm_ranking_leaves_out_the_past():
    world = random_world(num_items=20)
    task = task_of("ranking", world)
    known = liked_mask(task.known, task.users)
    orders = [np.flatnonzero(~past) for past in known]
    found = evaluated(in_order, task, horizon=1)
    check_ranking(found, orders, liked_mask(task.answers, task.users))


# --- all of them


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["cold", "cold_candidates", "warm", "ranking"])
def test_batches_of_users_change_no_number(protocol, monkeypatch):
    task = task_of(protocol, random_world())
    whole = evaluated(ease, task, horizon=6)
    monkeypatch.setattr(batched, "CELLS_AT_ONCE", 3 * 12)  # three users at a time
    parts = evaluated(ease, task, horizon=6)
    for name, values in whole.metrics.items():
        np.testing.assert_allclose(parts.metrics[name], values, rtol=1e-6)


def test_users_go_together_by_what_they_carry_and_not_by_the_catalogue(monkeypatch):
    monkeypatch.setattr(batched, "CATALOGUE_BLOCK", 5)
    world = random_world()  # 12 items, of which five are scored at a time
    carried = {}
    for make in (popularity, ease):
        agent = make(world)
        simulator = make_simulator(world, alpha=0.0, horizon=3)
        states = init_states(agent, ROOTS)
        carried[make] = batched.cells_per_user(agent, states, simulator, ROOTS)
    assert carried[popularity] == 5
    assert carried[ease] >= 12 + 5  # a score of every item


def test_a_second_look_traces_nothing():
    task, traced = task_of("cold", random_world()), []

    def context(state, hidden):
        traced.append(hidden)  # Python comes here when the agent is traced, and no more
        return ()

    agent = dataclasses.replace(in_order(task.known), context=context)
    world = make_simulator(task.known, alpha=0.0, horizon=3)
    evaluator = make_evaluator(agent, task)
    evaluator(init_states(agent, ROOTS), world, task.users, ROOTS)
    at_first = len(traced)
    evaluator(init_states(agent, ROOTS), world, task.users, ROOTS)
    assert len(traced) == at_first > 0


@pytest.mark.parametrize("protocol", ["cold", "warm"])
def test_a_large_crowd_is_asked_by_a_draw_that_stays_the_same(protocol):
    world = random_world()
    everybody, some = task_of(protocol, world), task_of(protocol, world, most_users=3)
    for all_users, drawn in (
        (everybody.users, some.users),
        (everybody.validation, some.validation),
    ):
        assert len(drawn) == 3 and np.isin(drawn, all_users).all()
        assert (np.diff(drawn) > 0).all()
    again = task_of(protocol, world, most_users=3)
    np.testing.assert_array_equal(some.users, again.users)
    same = task_of(protocol, world, most_users=1000)
    np.testing.assert_array_equal(same.users, everybody.users)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["cold", "cold_candidates", "warm", "ranking"])
def test_a_run_is_judged_by_the_protocol_of_its_config(protocol, tmp_path):
    config = tiny_config()
    config.agent.name = "popularity"
    config.evaluation.protocol = protocol
    config.evaluation.baselines = ("friends",)
    found = runner.train_and_evaluate(config, tmp_path, quiet=True)
    is_warm = protocol == "warm"
    assert found["protocol"] == protocol
    assert found["summary"]["num_users"] == (108 if is_warm else 12)
    assert found["baselines"]["friends"]["num_users"] == (108 if is_warm else 12)
    assert ("auc" in found["summary"]["metrics"]) == (protocol == "ranking")
    saved = sorted(path.stem for path in tmp_path.rglob("*.npz"))
    saved.remove("dataset")
    assert saved == ([] if protocol == "ranking" else ["evaluation", "friends"])


@pytest.mark.parametrize(
    "protocol, changes, message",
    [
        ("hot", {}, "evaluation.protocol is 'hot', expected one of cold, cold_cand"),
        ("ranking", {"ranking_of": "hot"}, "evaluation.ranking_of is 'hot'.*warm"),
        ("cold", {"others_per_like": 0}, "others_per_like must be 1 or more, got 0"),
        ("cold", {"most_users": -1}, r"most_users must be 0 \(all\) or more, got -1"),
    ],
)
def test_an_unknown_protocol_is_refused_before_anything_is_built(
    protocol, changes, message
):
    with pytest.raises(ValueError, match=message):
        task_of(protocol, random_world(), **changes)
