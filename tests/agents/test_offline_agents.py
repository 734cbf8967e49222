"""Policies trained on logged likes: they learn, and know nothing of unseen users.

Every agent of `registry.OFFLINE` is asked, so a further one is covered by being there.
Each is trained once, tiny, on a world where friends are of one's own kind.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import assert_same, one_seed
from worlds import flip_feedback, friends_decide

from dlerse_jax.agents.registry import OFFLINE
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.rollout import rollout
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk
from dlerse_jax.types import Observation

STATIC = ("ncf",)  # answers change nothing: all it knows is in a user table
SOCIAL = ("lightgcn_social", "graphrec")  # friends tell the first item
READ_DISLIKES = ("bpr",)  # one is all it takes
LIKES_ONLY = ("lightgcn", "lightgcn_social")  # deaf to dislikes
LIKES_ONLY += ("gru4rec", "sasrec", "autorec", "multvae", "din")
SMALL = {"width": 8, "learning_rate": 0.03, "batches": 10, "batch_size": 64}
OWN_SMALL = {  # keywords in which one agent differs from that
    "graphrec": {"width": 16, "learning_rate": 0.01, "num_answers": 4},
    "gru4rec": {"session_length": 8, "num_unliked": 16, "batch_size": 16},
    "sasrec": {"session_length": 8, "batch_size": 16},
    "din": {"session_length": 8, "batch_size": 16},
}
WORLD = friends_decide()
LIKED = WORLD.liked_items.reshape(WORLD.num_users, -1)  # everybody likes half
UNSEEN = np.concatenate([WORLD.split.validation, WORLD.split.test])
ALL = np.arange(WORLD.num_users)
PAST = LIKED.shape[1] // 2
# As many as there are training users, so that both are played by one program.
NEW = np.resize(UNSEEN, len(WORLD.split.train))
SOME = (9, 0, 5)  # items
ASKED = np.array([0, 1, 3, 4, *WORLD.split.test])  # in training, and new
NUM_UPDATES = 10
ROOTS = seed_keys(jnp.arange(2))


@pytest.fixture(scope="module", params=OFFLINE)
def name(request):
    """Each agent in turn: its tests run together."""
    return request.param


def _keywords(name):
    chosen = base_config().offline[name].to_dict()
    return chosen | SMALL | OWN_SMALL.get(name, {})


@functools.cache
def _agent(name):
    """An agent of WORLD and one compiled chunk of half its updates."""
    agent = OFFLINE[name](WORLD, **_keywords(name))
    return agent, train_chunk(agent, "pretrain", NUM_UPDATES // 2)


def _trained(name, world):
    """States of two seeds after all updates, on the host, and the metrics of both."""
    agent, update = _agent(name)
    simulator = make_simulator(world, alpha=0.0, horizon=8)
    states = init_states(OFFLINE[name](world, **_keywords(name)), ROOTS)
    measured = []
    for first in (0, NUM_UPDATES // 2):
        states, metrics = update(states, simulator, ROOTS, first, NUM_UPDATES)
        measured.append(metrics)
    return jax.device_get((states, measured))


@functools.cache
def _learned(name):
    return _trained(name, WORLD)


@functools.cache
def _play(name):
    """Compiled greedy episodes: (state, users [B], masked [U], history) -> Episodes."""
    agent, _ = _agent(name)
    simulator = make_simulator(WORLD, alpha=0.0, horizon=WORLD.num_items)

    @jax.jit
    def play(state, users, masked, history):
        context = agent.context(state, masked)
        key = jax.random.key(1)
        return rollout(agent, state, context, simulator, users, key, history=history)

    return play


@functools.cache
def _whole_episodes(name):
    """Every new user, of whom no likes are known, is shown every item."""
    state = one_seed(_learned(name)[0])
    nothing = np.full((len(NEW), PAST), WORLD.num_items)
    return _play(name)(state, NEW, np.isin(ALL, UNSEEN), nothing)


def _cold_feedback(name):
    """Answers [B, 8] of new users, who like eight items."""
    return np.asarray(_whole_episodes(name).feedback)[:, :8]


def _feedback_after_a_past(name, users, masked, past):
    """Answers [B, 4] of users who have liked past [B, H] before."""
    state = one_seed(_learned(name)[0])
    return np.asarray(_play(name)(state, users, masked, past).feedback)[:, :4]


@functools.cache
def _scorer(agent):
    """Compiled: scores of users after each of some (item, liked); SOME of the last."""

    @jax.jit
    def score(state, users, masked, answers):
        context = agent.context(state, masked)

        def one(user):
            memory = agent.begin(state, context, user, jax.random.key(1))
            found = []
            for step, (item, liked) in enumerate(answers):
                seen = _answer(user, step, item, liked)
                memory = agent.observe(state, context, memory, seen)
                found.append(agent.scores(state, context, memory, None))
            return found, agent.scores(state, context, memory, jnp.array(SOME))

        return jax.vmap(one)(users)  # adds B

    return score


def _scores(agent, state, answers, users, masked):
    """Scores [B, N] of users after each (item, liked)."""
    return _scores_and_some(agent, state, answers, users, masked)[0]


def _scores_and_some(agent, state, answers, users, masked):
    arrays = map(jnp.asarray, (users, masked, np.array(answers)))
    return jax.device_get(_scorer(agent)(state, *arrays))


def _answer(user, step, item, liked):
    zero = jnp.float32(0)
    return Observation(
        user=user,
        step=jnp.int32(step + 1),
        item=jnp.int32(item),
        liked=jnp.float32(liked),
        like_streak=zero,
        dislike_streak=zero,
        shown=jnp.full(8, 99, jnp.int32),
    )


def _nobody():
    return np.zeros(WORLD.num_users, bool)


# --- what they find


@pytest.mark.parametrize("name", READ_DISLIKES)
def test_the_first_answer_tells_the_rest_a_dislike_too(name):
    """The checkerboard: half of the users like what they are shown first."""
    feedback = _cold_feedback(name)
    assert 0 < feedback[:, 0].mean() < 1
    np.testing.assert_array_equal(feedback[:, 1:], 1)


@pytest.mark.parametrize("name", SOCIAL)
def test_friends_of_the_same_kind_leave_nothing_to_guess(name):
    np.testing.assert_array_equal(_cold_feedback(name), 1)


@pytest.mark.parametrize("name", [name for name in OFFLINE if name not in STATIC])
def test_one_like_of_a_new_user_tells_the_rest(name):
    past = LIKED[NEW, ::2]
    past[:, 1:] = WORLD.num_items  # padding: one like is all there is
    feedback = _feedback_after_a_past(name, NEW, np.isin(ALL, UNSEEN), past)
    np.testing.assert_array_equal(feedback, 1)


def test_users_with_a_past_are_known(name):
    """As in protocol `warm`: half of what a training user likes, then the rest."""
    users = WORLD.split.train
    past = LIKED[users, ::2]
    feedback = _feedback_after_a_past(name, users, _nobody(), past)
    np.testing.assert_array_equal(feedback, 1)


def test_no_item_is_shown_twice_even_when_all_are_shown(name):
    shown = np.sort(_whole_episodes(name).items, axis=1)
    np.testing.assert_array_equal(shown, np.broadcast_to(np.arange(16), shown.shape))


# --- what scores are


def test_a_list_of_items_scores_as_the_catalogue_does_and_is_finite(name):
    agent, _ = _agent(name)
    state = one_seed(_learned(name)[0])
    nobody = _nobody()
    (_, everything), some = _scores_and_some(
        agent, state, [(3, 1), (7, 0)], ASKED, nobody
    )
    assert np.isfinite(everything).all()
    np.testing.assert_allclose(some, everything[:, SOME], rtol=1e-4, atol=1e-6)


def test_showing_nothing_teaches_nothing(name):
    agent, _ = _agent(name)
    state = one_seed(_learned(name)[0])
    nobody = _nobody()
    answers = [(3, 1), (WORLD.num_items, 0)]
    before, after = _scores(agent, state, answers, ASKED, nobody)
    assert np.isfinite(before).all()
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize("name", LIKES_ONLY)
def test_a_dislike_changes_nothing_where_the_input_is_likes(name):
    agent, _ = _agent(name)
    state = one_seed(_learned(name)[0])
    nobody = _nobody()
    before, after = _scores(agent, state, [(3, 1), (4, 0)], ASKED, nobody)
    np.testing.assert_allclose(after, before, rtol=1e-6)
    _, liked = _scores(agent, state, [(3, 1), (4, 1)], ASKED, nobody)
    assert np.abs(liked - before).max() > 1e-3


# --- how they learn


def test_the_loss_falls_and_seeds_differ(name):
    states, (first, last) = _learned(name)
    assert (last["pretrain_loss"] < first["pretrain_loss"]).all()
    assert (np.concatenate([first["gradient_norm"], last["gradient_norm"]]) > 0).all()
    leaves = jax.tree.leaves(states.params)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert any((leaf[0] != leaf[1]).any() for leaf in leaves)


def test_a_chunk_is_traced_once(name):
    _learned(name)
    assert _agent(name)[1].program._cache_size() == 1


# --- what they must not know


def test_feedback_of_validation_and_test_users_is_nowhere(name):
    assert_same(_learned(name), _trained(name, flip_feedback(WORLD, UNSEEN)))


def test_feedback_of_training_users_is_learned_from(name):
    other, _ = _trained(name, flip_feedback(WORLD, WORLD.split.train[:7]))
    ours, reference = (jax.tree.leaves(s.params) for s in (_learned(name)[0], other))
    assert any((x != y).any() for x, y in zip(ours, reference, strict=True))


def test_masked_users_are_as_new_ones(name):
    """Neither their likes nor their rows of a user table are read by the policy."""
    agent, _ = _agent(name)
    state, masked = one_seed(_learned(name)[0]), _nobody()
    masked[[0, 3, 4, 7]] = True
    other = OFFLINE[name](flip_feedback(WORLD, masked), **_keywords(name))
    changed = state.replace(
        shared=jax.jit(other.init)(jax.random.key(0)).shared,
        params=jax.tree.map(
            lambda leaf: (
                jnp.array(leaf).at[masked].add(9.0)
                if leaf.shape[:1] == (WORLD.num_users,)
                else leaf
            ),
            state.params,
        ),
    )
    (_, ours), (_, reference) = (
        _scores(agent, each, [(3, 1), (4, 0)], ASKED, masked)
        for each in (state, changed)
    )
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
    ],
)
def test_wrong_settings_are_named(name, changes, message):
    with pytest.raises(ValueError, match=message):
        OFFLINE[name](WORLD, **_keywords(name) | changes)
