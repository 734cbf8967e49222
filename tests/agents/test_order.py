"""Q-learning of dlerse_rank: it starts as the myopic order and learns where order pays.

The probe world has six items of known, independent chances and pays much for streaks,
so the best order is known by dynamic programming over what is left and the streak.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import random_world

import dlerse_jax as dj
from dlerse_jax.agents.offline.base import Training
from dlerse_jax.agents.registry import RANK
from dlerse_jax.agents.two_stage import moment as moments
from dlerse_jax.agents.two_stage import q_learning as order
from dlerse_jax.agents.two_stage.agent import best_place, rank_parts
from dlerse_jax.agents.two_stage.moment import Numbers
from dlerse_jax.agents.two_stage.order import (
    OrderParams,
    OrderPlan,
    OrderState,
    q_values,
)
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.reward import streaks_after
from dlerse_jax.environment.rollout import rollout
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.experiment.agent_keys import settings_read
from dlerse_jax.experiment.build import _order_plan
from dlerse_jax.networks.order_head import OrderHead
from dlerse_jax.types import Observation

CHANCES = np.array([0.9, 0.8, 0.6, 0.3, 0.2, 0.1], np.float32)
STEPS, ALPHA = len(CHANCES), 1.0
PLAN = OrderPlan(
    gamma=1.0,
    learning_rate=0.003,
    target_step=0.05,
    episodes=64,
    epsilon_first=1.0,
    epsilon_last=1.0,
    miss_reward=-1.0,
)
PARTS = rank_parts(
    training=Training(learning_rate=0.01, weight_decay=0.0, batches=16, batch_size=128),
    hidden=16,
    horizon=STEPS,
    episodes=64,
    epsilon=0.0,
    holds_out=False,
)


def test_a_new_head_adds_nothing():
    head = OrderHead(4)
    numbers = jax.random.normal(jax.random.key(0), (5,))
    params = head.init(jax.random.key(1), numbers, numbers[None])
    found = head.apply(params, numbers, jnp.ones((3, 5)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(found)]
    assert shapes == [(), (3,), (3,)]
    assert not any(leaf.any() for leaf in jax.tree.leaves(found))


# --- a probe in which order pays


def log_odds(chances):
    chances = jnp.asarray(chances)
    return jnp.log(chances) - jnp.log1p(-chances)


def probe_numbers(left, likes, dislikes):
    """What stands to choose from: left [A] bool, both streaks."""
    num_left = left.sum()
    moment = jnp.concatenate([jnp.stack([likes, dislikes, num_left]) / STEPS, left])
    candidate = jnp.stack([CHANCES, CHANCES**2], axis=-1)
    candidate = jnp.concatenate([candidate, jnp.eye(STEPS)], axis=-1)
    return Numbers(
        moment=moment,
        candidate=candidate,
        surest=candidate[jnp.argmax(left)],  # they come by falling chance
        logit=log_odds(CHANCES),
        later=num_left - 1.0,
    )


def play(key):
    """An episode that shows the items in random order."""
    shown = jax.random.permutation(key, STEPS)
    answers = jax.random.uniform(jax.random.fold_in(key, 1), (STEPS,)) < CHANCES

    def step(carry, item):
        left, streaks = carry
        liked = answers[item].astype(float)
        played = order.Played(
            numbers=probe_numbers(left, *streaks),
            is_item=left,
            place=item,
            base=2 * liked - 1,
            of_streaks=ALPHA * (streaks[0] - streaks[1]),
            liked=liked,
        )
        return (left.at[item].set(False), streaks_after(*streaks, liked)), played

    start = jnp.ones(STEPS, bool), (jnp.float32(0), jnp.float32(0))
    return jax.lax.scan(step, start, shown)[1]


def reward_of(choose) -> float:
    """Expected reward of a policy, exact; choose of everything that may be left."""

    @functools.cache
    def value(left, streak):
        if not left:
            return 0.0
        found = {}
        for item in choose(left, streak):
            rest = tuple(x for x in left if x != item)
            liked = 1 + value(rest, max(streak, 0) + 1)
            disliked = -1 + value(rest, min(streak, 0) - 1)
            found[item] = CHANCES[item] * liked + (1 - CHANCES[item]) * disliked
        return ALPHA * streak + max(found.values())

    return value(tuple(range(STEPS)), 0)


def learned(updates):
    """The policy after some updates on episodes of random order."""
    key = jax.random.key(0)
    numbers = probe_numbers(jnp.ones(STEPS, bool), 0.0, 0.0)
    head = OrderHead(16).init(key, numbers.moment, numbers.candidate)
    state = OrderState(
        shared=None,
        params=OrderParams(rank=None, head=head),
        online=head,
        optimizer=PARTS.optimizer.init(head),
        rest=None,
    )

    @jax.jit
    def run(state):
        def update(state, number):
            own = jax.random.fold_in(key, number)
            episodes = jax.vmap(play)(jax.random.split(own, PLAN.episodes))
            rest = episodes, own, number / updates
            return order._descend(PARTS, PLAN, state, *rest)[0], None

        return jax.lax.scan(update, state, jnp.arange(updates))[0]

    head = run(state).params.head
    every = list(itertools.product((False, True), repeat=STEPS))
    streaks = np.arange(-STEPS, STEPS + 1)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def best(left, streak):
        streaks = jnp.maximum(streak, 0.0), jnp.maximum(-streak, 0.0)
        q = q_values(PARTS, PLAN, head, probe_numbers(left, *streaks))
        return best_place(left, q)

    table = np.asarray(best(jnp.array(every), jnp.array(streaks, jnp.float32)))

    def choose(left, streak):
        row = every.index(tuple(item in left for item in range(STEPS)))
        return [int(table[row, streak + STEPS])]

    return choose


def test_it_learns_most_of_what_order_is_worth_where_that_is_known():
    best = reward_of(lambda left, streak: left)
    myopic = reward_of(lambda left, streak: left[:1])
    assert best - myopic > 1.0
    # A new head is the myopic order; a trained one finds most of the rest.
    assert reward_of(learned(0)) == pytest.approx(myopic)
    assert reward_of(learned(150)) > myopic + 0.8 * (best - myopic)


# --- targets


def numbers_of(chances, later=1):
    return Numbers(
        moment=jnp.zeros(1),
        candidate=jnp.array(chances)[:, None],
        surest=jnp.zeros(1),
        logit=log_odds(chances),
        later=jnp.float32(later),
    )


def head_of(slope):
    """An order head whose advantage is slope times the chance."""
    head = OrderHead(16).init(jax.random.key(0), jnp.zeros(1), jnp.zeros((1, 1)))
    layers = jax.tree.map(jnp.zeros_like, head)["params"]
    path = ("first", 1, 0, 1), ("second", 0, 0, 1), ("last", 0, 0, slope)
    for name, row, column, weight in path:
        kernel = layers[f"advantage_{name}"]["kernel"]
        layers[f"advantage_{name}"]["kernel"] = kernel.at[row, column].set(weight)
    return {"params": layers}


def target_of(gamma=1.0, *, is_last=False, chances=(0.2, 0.7), is_item=(True, True)):
    """Of a step before a moment whose streaks pay -.3."""
    later = order.Played(
        numbers=numbers_of(chances),
        is_item=jnp.array(is_item),
        place=0,
        base=0.0,
        of_streaks=-0.3,
        liked=0.0,
    )
    plan = dataclasses.replace(PLAN, gamma=gamma)
    heads = head_of(-10.0), head_of(5.0)  # online likes the unlikely, slow the likely
    return float(order.targets(PARTS, plan, heads, later, is_last))


def test_the_online_head_picks_and_the_slow_one_values():
    # Picked is the chance of .2, which the slow one values at .2 - .8 + 5 * .2.
    assert target_of() == pytest.approx(0.4 - 0.3, abs=1e-5)
    assert target_of(0.5) == pytest.approx(0.5 * (0.4 - 0.3), abs=1e-5)


def test_what_is_no_item_is_not_picked():
    value = 0.7 - 0.3 + 5 * 0.7
    found = target_of(is_item=(False, True))
    assert found == pytest.approx(value - 0.3, abs=1e-5)


def test_without_discount_or_after_the_last_step_nothing_is_added():
    assert target_of(0.0) == target_of(is_last=True) == 0.0


def test_nothing_comes_after_the_last_step():
    found = q_values(PARTS, PLAN, head_of(5.0), numbers_of((0.2, 0.7), later=0))
    np.testing.assert_allclose(found, [-0.6, 0.4], atol=1e-6)


def test_later_steps_and_the_chance_now_are_fitted_apart():
    step = order.Played(
        numbers=numbers_of((0.2, 0.7)),
        is_item=jnp.array([True, True]),
        place=1,
        base=1.0,
        of_streaks=0.0,
        liked=jnp.float32(1),
    )
    found = order.losses_of(PARTS, head_of(5.0), step, 4.0)
    np.testing.assert_allclose(found, [0.5**2, -np.log(0.7)], rtol=1e-4)
    disliked = step.replace(liked=jnp.float32(0))
    found = order.losses_of(PARTS, head_of(5.0), disliked, 2.5)
    np.testing.assert_allclose(found, [1.0, -np.log(0.3)], rtol=1e-4)
    nothing = step.replace(is_item=jnp.array([True, False]))
    assert order.losses_of(PARTS, head_of(5.0), nothing, 9.0) == (0, 0)


# --- the moment


def seen(step, item, like_streak, dislike_streak):
    return Observation(
        user=0,
        step=jnp.int32(step),
        item=jnp.int32(item),
        liked=jnp.float32(1),
        like_streak=jnp.float32(like_streak),
        dislike_streak=jnp.float32(dislike_streak),
        shown=None,
    )


class SomeSession:
    is_liked = jnp.array([1.0, 1.0, 0.0])


def test_the_clock_and_the_streaks_are_those_of_the_episode():
    past = moments.next_moment(SomeSession, seen(0, 3, 0, 0))
    assert int(past.step) == 0  # a like from before it
    after = moments.next_moment(SomeSession, seen(2, 5, 0, 2))
    assert float(moments.steps_later(after, 5)) == 2
    assert float(moments.steps_later(after, 1)) == 0  # a session that goes on
    found = moments.of_moment(after, jnp.array([0.2, 0.9, 0.5]), 5)
    expected = [0, 2 / 8, 0, np.log(3), 2 / 5, 2 / 5, 0.9, 0.5, 0.2, 0, 0, 0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_candidates_are_compared_with_the_surest_of_all():
    moment = moments.next_moment(SomeSession, seen(1, 5, 1, 0))
    pool, asked = log_odds([0.2, 0.9, 0.5]), log_odds([0.5, 0.7])
    found = moments.numbers_of(moment, asked, pool, 5)
    np.testing.assert_allclose(found.candidate[:, 0], [0.5, 0.7], rtol=1e-5)
    np.testing.assert_allclose(found.candidate[:, 1], [-0.4, -0.2], rtol=1e-5)
    np.testing.assert_allclose(found.surest[:2], [0.9, 0], atol=1e-6)
    whole = moments.numbers_of(moment, pool, pool, 5)
    np.testing.assert_array_equal(whole.moment, found.moment)


def test_exploration_draws_among_the_surest_more_often():
    chances = jnp.array([0.1, 0.9, 0.5, -1.0])
    found = [int(order.drawn_place(chances, u)) for u in (0.0, 0.49, 0.51, 0.8, 0.999)]
    assert found == [1, 1, 2, 0, 0] or found == [1, 1, 2, 2, 0]


# --- the agent

HORIZON = 5
WORLD = random_world(num_users=40, num_items=20)
SMALL = {
    "network.width": 6,
    "ridge_rank": 4,
    "folds": 4,
    "candidates": 6,
    "rank.width": 8,
    "rank.batch_size": 16,
    "rank.batches": 2,
    "horizon": HORIZON,
}


LEARNS = {"rank.q_learning": True, "act_batch": 8}
LEARNS |= {"epsilon_first": 1.0, "epsilon_last": 1.0}  # all of few steps are explored


def agents():
    """Without an order and with one, and states whose chances are the same."""
    myopic = dj.make_agent(RANK, WORLD, **SMALL)
    learner = dj.make_agent(RANK, WORLD, **SMALL, **LEARNS)
    draws, key = np.random.default_rng(7), jax.random.key(3)
    state, other = myopic.init(key), learner.init(key)
    head = jax.tree.map(
        lambda x: x + np.float32(0.3 * draws.normal(size=x.shape)), state.params.head
    )
    state = state.replace(params=state.params.replace(head=head))
    params = other.params.replace(rank=state.params)
    return (myopic, state), (learner, other.replace(params=params))


def test_it_begins_as_exactly_the_myopic_order_and_moves_the_order_alone():
    world = make_simulator(WORLD, alpha=0.5, horizon=HORIZON)
    users = jnp.asarray([*WORLD.split.validation, *WORLD.split.test])
    nobody = jnp.zeros(WORLD.num_users, bool)
    pairs = agents()

    def shown(agent, state):
        context = agent.context(state, nobody)
        return rollout(agent, state, context, world, users, jax.random.key(0)).items

    first, second = (jax.jit(functools.partial(shown, a))(s) for a, s in pairs)
    np.testing.assert_array_equal(first, second)

    learner, state = pairs[1]
    after, metrics = jax.jit(learner.q_learning)(
        state, world, jax.random.key(1), jnp.float32(0.5)
    )
    for ours, theirs in (
        (after.params.rank, state.params.rank),
        (after.rest, state.rest),
    ):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    online = after.online["params"]["advantage_last"]["kernel"]
    slow = after.params.head["params"]["advantage_last"]["kernel"]
    assert np.abs(online).max() > np.abs(slow).max() > 0
    assert 0 <= metrics["held_back"] <= 1
    # Back to where pre-training was best, in memory that an update may give away.
    back = learner.go_on_from(after, state.params)
    for found, own in zip(
        *map(jax.tree.leaves, (back.params, state.params)), strict=True
    ):
        np.testing.assert_array_equal(found, own)
        assert found.unsafe_buffer_pointer() != own.unsafe_buffer_pointer()


def test_every_key_of_q_learning_that_it_reads_reaches_it():
    config = base_config()
    plan = _order_plan(config)
    keys = [key for key in settings_read(RANK) if key.startswith("q_learning.")]
    for key in set(keys) - {"q_learning.num_updates"}:
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict({key: 0.25 if key[-5:] != "batch" else 3})
        assert _order_plan(changed) != plan, key
    assert len(keys) == len(dataclasses.fields(plan))  # miss_reward, for num_updates


def test_keys_of_q_learning_are_refused_until_an_order_is_learned():
    with pytest.raises(ValueError, match="gamma does nothing .* rank.q_learning is Fa"):
        dj.make_agent(RANK, WORLD, gamma=0.5)
    with pytest.raises(ValueError, match="replay_capacity does nothing for dlerse_ran"):
        dj.make_agent(RANK, WORLD, replay_capacity=9, **{"rank.q_learning": True})
