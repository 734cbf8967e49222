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
from dlerse_jax.agents.registry import RANK
from dlerse_jax.agents.two_stage import moment as moments
from dlerse_jax.agents.two_stage import q_learning as order
from dlerse_jax.agents.two_stage.agent import best_place
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
from dlerse_jax.types import Observation

CHANCES = np.array([0.9, 0.8, 0.6, 0.3, 0.2, 0.1], np.float32)
STEPS, ALPHA = len(CHANCES), 1.0
PLAN = OrderPlan(
    gamma=1.0,
    episodes=64,
    epsilon_first=1.0,
    epsilon_last=1.0,
    miss_reward=-1.0,
)


# --- a probe in which order pays


def probe_numbers(left, likes, dislikes):
    """What stands to choose from: left [A] bool, both streaks."""
    cells = jnp.stack([1.0, likes, dislikes])
    moment = jnp.outer(jnp.append(left, 1.0), cells).ravel()
    candidate = jnp.einsum("ab,c->abc", jnp.eye(STEPS), cells).reshape(STEPS, -1)
    goes_on = left.sum() > 1
    return Numbers(
        moment=moment * goes_on,
        candidate=candidate * goes_on,
        surest=candidate[jnp.argmax(left)] * goes_on,  # they come by falling chance
        between=candidate[jnp.argmax(left)[None]] * goes_on,
        chance=jnp.asarray(CHANCES),
        highest=jnp.max(CHANCES * left),
        chance_between=jnp.max(CHANCES * left)[None],
    )


def play(key):
    """An episode that shows the items in random order."""
    shown = jax.random.permutation(key, STEPS)
    answers = jax.random.uniform(jax.random.fold_in(key, 1), (STEPS,)) < CHANCES

    def step(carry, item):
        left, streaks = carry
        liked = answers[item].astype(float)
        numbers = probe_numbers(left, *streaks)
        played = order.Played(
            numbers=numbers,
            usual=left @ numbers.candidate / left.sum(),
            is_item=left,
            place=item,
            of_streaks=ALPHA * (streaks[0] - streaks[1]),
            reward=0.0,  # a metric
            liked=liked,
        )
        return (left.at[item].set(False), streaks_after(*streaks, liked)), played

    start = jnp.ones(STEPS, bool), (jnp.float32(0), jnp.float32(0))
    return jax.lax.scan(step, start, shown)[1]


@jax.jit
def episodes(key):
    return jax.vmap(play)(jax.random.split(key, 256))


learn = jax.jit(functools.partial(order.learn, PLAN))


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


def new_state():
    numbers = probe_numbers(jnp.ones(STEPS, bool), 0.0, 0.0)
    of_candidate = numbers.candidate.shape[1]
    size = len(numbers.moment) + of_candidate
    return OrderState(
        shared=None,
        params=OrderParams(rank=None, weights=jnp.zeros((2, 2, of_candidate))),
        products=jnp.zeros((2, size, size)),
        rewards=jnp.zeros((2, 2, size)),
        rest=None,
    )


def learned(updates):
    """The policy after some updates on episodes of random order."""
    state = new_state()
    for number in range(updates):
        state = learn(state, episodes(jax.random.key(number)))
    weights = state.params.weights
    every = list(itertools.product((False, True), repeat=STEPS))
    streaks = np.arange(-STEPS, STEPS + 1)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def best(left, streak):
        streaks = jnp.maximum(streak, 0.0), jnp.maximum(-streak, 0.0)
        return best_place(left, q_values(PLAN, weights, probe_numbers(left, *streaks)))

    table = np.asarray(best(jnp.array(every), jnp.array(streaks, jnp.float32)))

    def choose(left, streak):
        row = every.index(tuple(item in left for item in range(STEPS)))
        return [int(table[row, streak + STEPS])]

    return choose


def test_it_learns_most_of_what_order_is_worth_where_that_is_known():
    best = reward_of(lambda left, streak: left)
    myopic = reward_of(lambda left, streak: left[:1])
    assert best - myopic > 1.0
    # New weights are the myopic order; two updates find most of the rest.
    assert reward_of(learned(0)) == pytest.approx(myopic)
    assert reward_of(learned(2)) > myopic + 0.8 * (best - myopic)


# --- the equations


def numbers_of(moment=(1.0,), chances=(0.2, 0.7)):
    """The number of a candidate is its chance."""
    chances = jnp.array(chances)
    return Numbers(
        moment=jnp.array(moment),
        candidate=chances[:, None],
        surest=chances.max()[None],
        between=chances.max()[None, None],
        chance=chances,
        highest=chances.max(),
        chance_between=chances.max()[None],
    )


def two_steps(**changes):
    """Shown are the surest at first and then the other; the last moment is empty."""
    steps = [numbers_of(), numbers_of(moment=(0.0,))]
    played = order.Played(
        numbers=jax.tree.map(lambda *x: jnp.stack(x), *steps),
        usual=jnp.array([[0.5], [0.5]]),
        is_item=jnp.ones((2, 2), bool),
        place=jnp.array([1, 0]),
        of_streaks=jnp.array([0.0, -0.3]),
        reward=jnp.zeros(2),
        liked=jnp.zeros(2),
    )
    return played.replace(**changes)


def equations(of_streaks=0.0, gamma=1.0, **changes):
    plan = dataclasses.replace(PLAN, gamma=gamma)
    return order.equations(plan, jnp.array([[0.0], [of_streaks]]), two_steps(**changes))


def test_a_choice_is_measured_from_what_is_usual_and_the_next_one_from_the_best():
    here, later = np.array([1, 0.7 - 0.5]), np.array([0, 0.7 - 0.5])
    products, rewards = equations()  # the best next candidate has .7
    np.testing.assert_allclose(products, np.outer(here, here - later), atol=1e-6)
    np.testing.assert_allclose(rewards, [0.4 * here, -0.3 * here], atol=1e-6)
    later = np.array([0, 0.2 - 0.5])
    products, rewards = equations(-9.0, gamma=0.5)  # here it is the other one
    np.testing.assert_allclose(products, np.outer(here, here - later / 2), atol=1e-6)
    np.testing.assert_allclose(rewards, [-0.3 * here, -0.15 * here], atol=1e-6)


def test_what_is_no_item_is_neither_learned_from_nor_picked():
    nothing = jnp.zeros((2, 2), bool)
    assert not any(found.any() for found in equations(is_item=nothing))
    one = jnp.array([[True, True], [True, False]])
    rewards = equations(is_item=one)[1]
    np.testing.assert_allclose(rewards[0], -0.6 * np.array([1, 0.2]), atol=1e-6)


def test_each_half_learns_from_what_the_other_one_picks():
    state = new_state().replace(
        params=OrderParams(rank=None, weights=jnp.zeros((2, 2, 1)).at[1, 1].set(-9.0)),
        products=jnp.zeros((2, 2, 2)),
        rewards=jnp.ones((2, 2, 2)),
    )
    batch = jax.tree.map(lambda x: jnp.stack([x] * 4), two_steps())
    found = order.learn(PLAN, state, batch)
    for half, of_streaks in enumerate((-9.0, 0.0)):
        products, rewards = equations(of_streaks)
        np.testing.assert_allclose(found.products[half], 2 * products, atol=1e-6)
        rewards = order.KEPT + 2 * rewards
        np.testing.assert_allclose(found.rewards[half], rewards, atol=1e-6)
        matrix = 2 * products + order.RIDGE * np.eye(2)
        weights = [np.linalg.solve(matrix, side)[1:] for side in rewards]
        np.testing.assert_allclose(found.params.weights[half], weights, rtol=1e-4)


def test_without_discount_nothing_is_learned():
    assert not equations(gamma=0.0)[1].any()


def test_where_streaks_pay_nothing_the_surest_is_shown_whatever_answers_pay():
    batch = episodes(jax.random.key(0))
    batch = batch.replace(of_streaks=jnp.zeros_like(batch.of_streaks))
    weights = learn(new_state(), batch).params.weights
    assert weights[:, 0].any() and not weights[:, 1].any()
    later_answers = jnp.array([[[-9.0], [0.0]]])  # .2 before .7 would gain
    assert jnp.argmax(q_values(PLAN, later_answers, numbers_of())) == 1


@pytest.mark.parametrize(
    ("of_halves", "over_surest"),
    [
        # What answers pay at once is -1; of what they pay later .5 times the weight.
        (((-1, -4), (-1, -3)), -0.5 + 1.5),  # the half that gains less
        (((-9, -4), (-9, -3)), 1.5),  # answers gain nothing in all
        (((-9, -4), (-9, 1)), -0.5),
    ],
)
def test_a_candidate_passes_the_surest_for_streaks_alone(of_halves, over_surest):
    weights = jnp.array(of_halves, jnp.float32)[..., None]
    q = q_values(PLAN, weights, numbers_of())
    np.testing.assert_allclose(q, [0.4 + over_surest, 0.4], atol=2e-4)


def test_what_sure_candidates_gain_in_answers_buys_no_unlikely_one():
    """Of .8, .5 and .1. From .8 to .5 later answers pay .96 for the .6 lost at once,
    from there to .1 no more than .64 for .8; each has .3 per chance from streaks."""
    above = jnp.array([[0.8, 0.3], [0.5, 0.0], [0.1, 0.0]])
    between = jnp.array([[0.8, 0.3], [0.5, 0.0], [0.5, 0.0]])
    numbers = numbers_of(chances=(0.8, 0.5, 0.1)).replace(
        candidate=above, surest=above[0], between=between, chance_between=between[:, 0]
    )
    weights = jnp.array([[[-1.6, -1.6], [-0.3, 0.0]]])
    q = q_values(PLAN, weights, numbers)
    np.testing.assert_allclose(q, [0.6, 0.6 + 0.09, 0.6 + 0.21 - 0.16], atol=2e-4)


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
    # Surest first: after two dislikes in a row .9 and .5, of the likes and the streaks.
    surest = [0.9 + 0.5, 0.9 + 0.5 * 1.9, 0.1 * 3 + 0.5 * 1.3]
    pool = np.array([0.9, 0.5, 0.2, 0, 0, 0, 0])
    twice = [1, *np.array(surest) / 8, 0, 2 / 8, 0, np.log(3), *pool, 2 / 5]
    expected = [*twice, *0.4 * np.array(twice), 0.4**2, *0.4 * pool**2]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len(found) == moments.NUM_OF_MOMENT
    last = moments.next_moment(SomeSession, seen(4, 5, 0, 2))
    assert not moments.of_moment(last, jnp.array([0.2]), 5).any()


@pytest.mark.parametrize(
    ("streaks", "cell"), [((0, 0), 1), ((1, 0), 1), ((2, 0), 2), ((0, 2), 0)]
)
def test_a_candidate_counts_by_its_chance_in_the_cell_of_the_streaks(streaks, cell):
    moment = moments.next_moment(SomeSession, seen(1, 5, *streaks))
    found = moments.of_candidates(moment, jnp.array([0.3, 0.9]), 5)
    expected = np.zeros((2, 3, 2))
    expected[:, cell] = 3 / 5 * np.array([[0.3, 0], [0.9, 0.9 - 0.5]])
    np.testing.assert_allclose(found, expected.reshape(2, -1), rtol=1e-5)
    assert found.shape[1] == moments.NUM_OF_CANDIDATE


def test_candidates_are_compared_with_the_surest_of_all():
    moment = moments.next_moment(SomeSession, seen(1, 5, 1, 0))
    pool, asked = jnp.array([0.2, 0.9, 0.5]), jnp.array([0.5, 0.7])
    found = moments.numbers_of(moment, asked, pool, 5)
    whole = moments.numbers_of(moment, pool, pool, 5)
    np.testing.assert_array_equal(found.surest, whole.candidate[1])
    np.testing.assert_array_equal(found.candidate[0], whole.candidate[2])
    np.testing.assert_array_equal(whole.moment, found.moment)


@pytest.mark.parametrize(
    ("pool", "between"),
    [((0.8, 0.6, 0.1), (0.8, 0.6, 0.5)), ((0.4, 0.3, 0.1), (0.4, 0.4, 0.4))],
)
def test_between_is_a_half_where_that_lies_between_a_candidate_and_the_surest(
    pool, between
):
    moment = moments.next_moment(SomeSession, seen(1, 5, 1, 0))
    found = moments.numbers_of(moment, jnp.array(pool), jnp.array(pool), 5)
    np.testing.assert_allclose(found.chance_between, between)
    expected = moments.of_candidates(moment, jnp.array(between), 5)
    np.testing.assert_array_equal(found.between, expected)


def test_exploration_draws_among_the_surest_more_often():
    chances = jnp.array([0.1, 0.9, 0.5, -1.0])
    found = [int(order.drawn_place(chances, u)) for u in (0.0, 0.49, 0.51, 0.8, 0.999)]
    assert found == [1, 1, 2, 0, 0] or found == [1, 1, 2, 2, 0]


def test_usual_is_the_mean_of_what_is_drawn():
    chances = jnp.array([0.1, 0.9, 0.5, 0.3])
    numbers = numbers_of(chances=chances)
    draws = (jnp.arange(4000) + 0.5) / 4000
    places = jax.vmap(order.drawn_place, in_axes=(None, 0))(chances, draws)
    mean = chances[places].mean()
    explored = order.usual_numbers(numbers, 2, 1.0)
    np.testing.assert_allclose(explored, [mean], atol=1e-3)
    usual = order.usual_numbers(numbers, 2, 0.25)
    np.testing.assert_allclose(usual, 0.75 * 0.5 + 0.25 * explored, rtol=1e-5)
    alone = order.usual_numbers(numbers_of(chances=(0.3,)), 0, 0.5)
    np.testing.assert_allclose(alone, [0.3], rtol=1e-5)


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
    assert np.abs(after.params.weights).max() > 0
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
