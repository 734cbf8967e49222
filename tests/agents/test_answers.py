"""dlerse_rank that learns numbers of each item from answers.

The probe world has two steps. Item 0 is liked by most and spoils whatever comes next;
item 1 is liked by fewer and spoils nothing. So what is best depends on gamma, and every
number is known.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import random_world

import dlerse_jax as dj
from dlerse_jax.agents.registry import RANK
from dlerse_jax.agents.two_stage import answer_learning
from dlerse_jax.agents.two_stage.answer_learning import Answered, AnswerState
from dlerse_jax.agents.two_stage.answers import (
    MEMORY,
    AnswerParams,
    Choice,
    added,
    like_log_odds,
    new_numbers,
    of_moment,
    q_values,
)
from dlerse_jax.agents.two_stage.order import OrderPlan
from dlerse_jax.data.synthetic import synthetic_dataset
from dlerse_jax.environment.rollout import rollout
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk
from dlerse_jax.runs.checkpoint import restore_newest, save
from dlerse_jax.types import Observation

CHANCES = np.array([0.8, 0.6, 0.5, 0.3])
NUM_ITEMS, STEPS, SPOILED = len(CHANCES), 2, 0.05
NOTHING = jnp.full(MEMORY, NUM_ITEMS)


def plan_of(gamma):
    return OrderPlan(
        gamma=gamma, episodes=64, epsilon_first=1.0, epsilon_last=1.0, miss_reward=-1.0
    )


def choice_of(left, recent, later):
    return Choice(
        items=jnp.where(left, jnp.arange(NUM_ITEMS), NUM_ITEMS),
        logits=jnp.zeros(NUM_ITEMS),
        recent=jnp.asarray(recent),
        later=jnp.float32(later),
        liked=jnp.float32(0),
    )


def play(key):
    """An episode that shows two items in random order: `Answered` [T]."""
    key_items, key_answers = jax.random.split(key)
    shown = jax.random.permutation(key_items, NUM_ITEMS)[:STEPS]
    first, second = shown
    spoiled = jnp.where(first == 0, SPOILED, jnp.array(CHANCES)[second])
    chances = jnp.stack([jnp.array(CHANCES)[first], spoiled])
    liked = jax.random.uniform(key_answers, (STEPS,)) < chances
    every = jnp.ones(NUM_ITEMS, bool)
    choices = (
        choice_of(every, NOTHING, 1),
        choice_of(every.at[first].set(False), NOTHING.at[0].set(first), 0),
    )
    return Answered(
        choice=jax.tree.map(lambda *steps: jnp.stack(steps), *choices),
        place=shown,
        of_streaks=jnp.zeros(STEPS),
        reward=jnp.zeros(STEPS),
        liked=liked.astype(jnp.float32),
    )


def new_state(rank=2):
    numbers = new_numbers(jax.random.key(0), NUM_ITEMS, rank)
    return AnswerState(
        shared=None,
        params=AnswerParams(rank=None, numbers=numbers),
        numbers=numbers,
        optimizer=answer_learning.OPTIMIZER.init(numbers),
        rest=None,
    )


@functools.cache
def learned(gamma):
    """What plays after 400 updates on random episodes."""

    @jax.jit
    def run(state):
        def update(state, number):
            keys = jax.random.split(jax.random.key(number), 256)
            rate = jnp.where(number < 200, 0.02, 0.004)
            answered = jax.vmap(play)(keys)
            return answer_learning.learn(plan_of(gamma), state, answered, rate)

        return jax.lax.scan(update, state, jnp.arange(400))[0]

    return run(new_state()).params.numbers


EVERY = jnp.ones(NUM_ITEMS, bool)


def test_chances_are_those_of_the_answers_by_what_was_shown_before():
    numbers = learned(1.0)
    fresh = jax.nn.sigmoid(like_log_odds(numbers, choice_of(EVERY, NOTHING, 1)))
    np.testing.assert_allclose(fresh, CHANCES, atol=0.06)
    for before, expected in ((0, np.full(3, SPOILED)), (2, CHANCES[[1, 3]])):
        recent = NOTHING.at[0].set(before)
        found = jax.nn.sigmoid(like_log_odds(numbers, choice_of(EVERY, recent, 0)))
        others = [item for item in (1, 2, 3) if item != before]
        np.testing.assert_allclose(found[jnp.array(others)], expected, atol=0.06)


def test_what_later_steps_pay_is_that_of_the_best_that_is_left():
    """A step pays 2 p - 1, and after item 0 the best has .05 in place of .8 or .6."""
    first = choice_of(EVERY, NOTHING, 1)
    myopic, far = (q_values(plan_of(g), learned(g), first) for g in (0.0, 1.0))
    np.testing.assert_allclose(myopic, 2 * CHANCES - 1, atol=0.12)
    assert int(jnp.argmax(myopic)) == 0
    later = np.array([2 * SPOILED - 1, 0.6, 0.6, 0.6])
    over_last = (far - far[3]) - (2 * CHANCES - 1 - (2 * CHANCES[3] - 1))
    np.testing.assert_allclose(over_last, later - later[3], atol=0.15)
    assert int(jnp.argmax(far)) == 1
    last = choice_of(EVERY, NOTHING, 0)  # nothing comes after it
    assert int(jnp.argmax(q_values(plan_of(1.0), learned(1.0), last))) == 0


def test_without_discount_nothing_is_learned_of_later_steps():
    numbers = learned(0.0)
    assert not numbers.later.alone.any() and not numbers.later.now.any()
    assert not numbers.moment.any()


def test_what_is_no_item_adds_nothing_and_is_not_learned_from():
    numbers = learned(1.0)
    nothing = added(numbers.like, jnp.array([NUM_ITEMS, 1]), NOTHING)
    np.testing.assert_allclose(nothing, [0, numbers.like.alone[1]])
    answered = play(jax.random.key(0))
    losses = functools.partial(answer_learning.episode_losses, plan_of(1.0), numbers)
    of_likes, of_later = losses(numbers, answered)
    assert of_likes.all() and of_later[0] and not of_later[1]  # the last step
    items = jnp.full_like(answered.choice.items, NUM_ITEMS)
    padded = answered.replace(choice=answered.choice.replace(items=items))
    assert not any(loss.any() for loss in losses(numbers, padded))
    # An episode whose items run out: what comes after its last one is nothing.
    ended = answered.choice.replace(items=answered.choice.items.at[1].set(NUM_ITEMS))
    of_likes, of_later = losses(numbers, answered.replace(choice=ended))
    assert of_likes[0] > 0 and not of_likes[1]
    first = jax.tree.map(lambda leaf: leaf[0], answered)
    found = of_moment(plan_of(1.0), numbers, first.choice) @ numbers.moment
    found += added(numbers.later, first.choice.items, NOTHING)[first.place] / MEMORY
    np.testing.assert_allclose(of_later[0], found**2, rtol=1e-4)


@pytest.mark.parametrize(("gamma", "steps"), [(1.0, 3.0), (0.5, 0.875), (0.0, 0.0)])
def test_of_a_moment_is_known_what_its_later_steps_may_pay(gamma, steps):
    numbers = new_numbers(jax.random.key(0), NUM_ITEMS, 2)
    choice = choice_of(jnp.array([True, True, False, False]), NOTHING, 3)
    logits = jnp.log(jnp.array([0.2, 0.6, 0.9, 0.9]) / jnp.array([0.8, 0.4, 0.1, 0.1]))
    found = of_moment(
        plan_of(gamma), numbers, choice.replace(logits=logits, liked=jnp.float32(0.25))
    )
    np.testing.assert_allclose(found, steps * np.array([1, 0.6, 0.4, 0.25]), rtol=1e-5)


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
LEARNS = {"rank.q_learning": True, "act_batch": 8, "answer_rank": 2}


def test_it_begins_as_exactly_the_myopic_order_and_keeps_what_it_began_with():
    myopic = dj.make_agent(RANK, WORLD, **SMALL)
    learner = dj.make_agent(RANK, WORLD, **SMALL, **LEARNS)
    world = make_simulator(WORLD, alpha=0.5, horizon=HORIZON)
    users = jnp.asarray([*WORLD.split.validation, *WORLD.split.test])
    nobody = jnp.zeros(WORLD.num_users, bool)

    def shown(agent, state):
        context = agent.context(state, nobody)
        return rollout(agent, state, context, world, users, jax.random.key(0)).items

    key = jax.random.key(3)
    states = myopic.init(key), learner.init(key)
    first, second = (
        jax.jit(functools.partial(shown, agent))(state)
        for agent, state in zip((myopic, learner), states, strict=True)
    )
    np.testing.assert_array_equal(first, second)

    state = states[1]
    after, metrics = jax.jit(learner.q_learning)(
        state, world, jax.random.key(1), jnp.float32(0.5)
    )
    for ours, theirs in (
        (after.params.rank, state.params.rank),
        (after.rest, state.rest),
    ):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    # What plays is the running average of what learns.
    old, new = state.numbers.like.alone, after.numbers.like.alone
    plays = after.params.numbers.like.alone
    assert np.abs(new - old).max() > 1e-3
    assert 0 < np.abs(plays).max() < 0.2 * np.abs(new).max()
    assert np.abs(after.numbers.later.alone).max() > 0
    assert metrics["like_loss"] > 0 and metrics["td_loss"] > 0


@pytest.mark.parametrize(
    ("answer_rank", "moved"),
    [(0, ("products", "rewards")), (2, ("numbers", "optimizer"))],
)
def test_q_learning_goes_on_from_a_checkpoint_as_if_never_interrupted(
    tmp_path, answer_rank, moved
):
    """Of an order (0), too: all that an update moves is each seed's own, and saved."""
    learns = LEARNS | {"answer_rank": answer_rank}
    agent = dj.make_agent(RANK, WORLD, **SMALL, **learns)
    world = make_simulator(WORLD, alpha=0.5, horizon=HORIZON)
    roots = seed_keys(jnp.arange(2))
    update = train_chunk(agent, "q_learning", 1)

    def updated(states, number):  # what goes in is used up
        states = jax.tree.map(jnp.copy, states)
        return update(states, world, roots, jnp.int32(number), jnp.int32(2))[0]

    first = init_states(agent, roots)
    save(tmp_path, 0, first, agent.seed_axes)
    second = updated(first, 0)
    save(tmp_path, 1, second, agent.seed_axes)
    step, restored = restore_newest(tmp_path, second)
    assert step == 1
    whole, resumed = updated(second, 1), updated(restored, 1)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    for name in moved:
        before, after = (
            jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(part)])
            for part in (getattr(first, name), getattr(second, name))
        )
        assert jnp.abs(after - before).max() > 0


def test_two_seeds_begin_with_vectors_of_their_own():
    learner = dj.make_agent(RANK, WORLD, **SMALL, **LEARNS)
    one, other = (learner.init(jax.random.key(seed)).numbers for seed in (0, 1))
    assert np.abs(one.like.before - other.like.before).min() > 0
    assert np.abs(one.like.before - one.later.before).min() > 0
    assert one.like.before.shape == (WORLD.num_items, 2)


def test_remembered_are_the_last_items_of_the_session_latest_first():
    learner = dj.make_agent(RANK, WORLD, **SMALL, **LEARNS)
    nothing = WORLD.num_items

    @jax.jit
    def begun(key):
        state = learner.init(key)
        context = learner.context(state, jnp.zeros(WORLD.num_users, bool))
        return state, context, learner.begin(state, context, jnp.int32(5), key)

    state, context, recent = begun(jax.random.key(0))

    @jax.jit
    def after(recent, step, item):
        seen = Observation(
            user=0,
            step=step,
            item=item,
            liked=jnp.float32(1),
            like_streak=jnp.float32(0),
            dislike_streak=jnp.float32(0),
            shown=None,
        )
        return learner.observe(state, context, recent, seen)

    recent = after(recent, 0, 9)  # a like from before it
    assert recent.items.tolist() == [nothing] * MEMORY
    for step, item in enumerate((3, 4, nothing, 5, 6, 7), start=1):
        recent = after(recent, step, item)
    assert recent.items.tolist() == [7, 6, 5, 4]


def test_where_topics_satiate_it_learns_what_not_to_show_one_after_another(monkeypatch):
    """Users like about half of the items, and dislike a topic shown shortly before."""
    monkeypatch.setattr(answer_learning, "RATE", 0.05)  # few updates
    data = synthetic_dataset(
        num_users=80,
        num_items=24,
        num_communities=3,
        most_topics=2,
        mean_likes=12.0,
    )
    world = make_simulator(data, alpha=0.0, horizon=8, satiation=2, most_topics=2)
    small = SMALL | {"candidates": 24, "horizon": 8}
    learns = LEARNS | {"act_batch": 32, "gamma": 0.9}
    learns |= {"epsilon_first": 0.5, "epsilon_last": 0.2}
    agent = dj.make_agent(RANK, data, **small, **learns)
    users = jnp.asarray([*data.split.validation, *data.split.test])

    @jax.jit
    def precision(state):
        context = agent.context(state, jnp.zeros(data.num_users, bool))
        return rollout(agent, state, context, world, users, jax.random.key(0)).feedback

    @jax.jit
    def run(state):
        def update(state, number):
            key = jax.random.fold_in(jax.random.key(0), number)
            return agent.q_learning(state, world, key, number / 80)[0], None

        return jax.lax.scan(update, state, jnp.arange(80))[0]

    state = agent.init(jax.random.key(0))
    before, after = precision(state).mean(), precision(run(state)).mean()
    assert after > before + 0.15, (before, after)


def test_it_is_refused_until_q_learning_is_on_and_below_zero():
    with pytest.raises(ValueError, match="answer_rank does nothing .* rank.q_learning"):
        dj.make_agent(RANK, WORLD, answer_rank=2)
    with pytest.raises(ValueError, match="rank.answer_rank must be 0 or more"):
        dj.make_agent(RANK, WORLD, **SMALL, **LEARNS | {"answer_rank": -1})
