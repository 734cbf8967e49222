"""Agents without a network: they find what can be found and know nothing hidden."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import (
    checkerboard,
    flip_feedback,
    friends_decide,
    make_world,
    random_world,
)

from dlerse_jax.agents.classical.bandits import (
    lints,
    linucb,
    mf_friends,
    mf_mean,
    mf_static,
)
from dlerse_jax.agents.classical.ease import ease_friends, ease_popularity, linear
from dlerse_jax.agents.classical.linear_plus import linear_plus
from dlerse_jax.agents.classical.popularity import (
    friends_items,
    popularity,
    random_items,
)
from dlerse_jax.data import load_dataset
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.environment.rollout import rollout
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.types import Observation, Taggings

EASE = {"rank": 4, "regularisation": 1.0, "answer_weight": 3.0, "dislike_weight": 0.1}
AGENTS = {
    "random": random_items,
    "popularity": popularity,
    "friends": functools.partial(friends_items, prior_weight=4.0),
    "mf_static": functools.partial(mf_static, rank=2),
    "mf_mean": functools.partial(mf_mean, rank=2, regularisation=1.0),
    "mf_friends": functools.partial(
        mf_friends, rank=2, regularisation=1.0, prior_weight=1.0
    ),
    "linucb": functools.partial(linucb, rank=2, regularisation=1.0, exploration=0.1),
    "lints": functools.partial(lints, rank=2, regularisation=1.0, exploration=0.1),
    "ease_popularity": functools.partial(ease_popularity, **EASE),
    "ease_friends": functools.partial(ease_friends, prior_weight=1.0, **EASE),
    "linear": functools.partial(linear, prior_weight=4.0, two_hop_weight=0.3, **EASE),
    "linear_plus": functools.partial(
        linear_plus,
        prior_weight=4.0,
        two_hop_weight=0.3,
        ridge_rank=2,
        ridge_power=0.35,
        ridge_regularisation=1.0,
        ridge_weight=1.0,
        **EASE,
    ),
}
ADAPTIVE = ("mf_mean", "mf_friends", "linucb", "lints", "ease_popularity")
ADAPTIVE += ("ease_friends", "linear", "linear_plus")
SOCIAL = ("friends", "mf_friends", "ease_friends", "linear", "linear_plus")
READ_COUNTS = [name for name in AGENTS if name not in ("random", "popularity")]
READ_TAGS = [name for name in READ_COUNTS if name != "friends"]


@pytest.fixture(scope="module", params=AGENTS)
def name(request):
    """Each agent in turn: its tests run together."""
    return request.param


def _play(agent, world, users, horizon):
    """Greedy episodes of some users, as one program."""
    simulator = make_simulator(world, alpha=0.0, horizon=horizon)

    @jax.jit
    def play(state, users, key):
        context = agent.context(state, jnp.zeros(world.num_users, bool))
        return rollout(agent, state, context, simulator, users, key)

    state = agent.init(jax.random.key(0))
    return play(state, jnp.asarray(users), jax.random.key(1))


@functools.cache
def _checkerboard_episodes(name):
    """Every test user of the checkerboard is shown every item."""
    world = checkerboard()
    return _play(AGENTS[name](world), world, world.split.test, world.num_items)


def _start(agent, world, users, hidden=()):
    """What an agent carries at the start of an episode of each user."""
    is_hidden = np.zeros(world.num_users, bool)
    is_hidden[list(hidden)] = True

    @jax.jit
    def start(state):
        begin = functools.partial(agent.begin, state, agent.context(state, is_hidden))
        # adds users
        return jax.vmap(begin, in_axes=(0, None))(jnp.array(users), jax.random.key(1))

    return start(agent.init(jax.random.key(0)))


def _score_after(agent, world, items, answers, *, scored=(None,), user=0, seed=1):
    """Scores of each entry of `scored` once these answers are in, as one program."""

    @jax.jit
    def score(state):
        context = agent.context(state, jnp.zeros(world.num_users, bool))
        memory = agent.begin(state, context, jnp.int32(user), jax.random.key(seed))
        for item, liked in zip(items, answers, strict=True):
            memory = agent.observe(state, context, memory, _answer(item, liked))
        return [agent.scores(state, context, memory, each) for each in scored]

    return [np.array(each) for each in score(agent.init(jax.random.key(0)))]


def _answer(item, liked):
    zero = jnp.float32(0)
    return Observation(
        user=jnp.int32(0),
        step=jnp.int32(1),
        item=jnp.int32(item),
        liked=jnp.float32(liked),
        like_streak=zero,
        dislike_streak=zero,
        shown=jnp.full(4, 99, jnp.int32),
    )


def test_no_item_is_shown_twice_even_when_all_are_shown(name):
    shown = np.sort(_checkerboard_episodes(name).items, axis=1)
    np.testing.assert_array_equal(shown, np.broadcast_to(np.arange(16), shown.shape))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_agents_find_the_colour_of_the_checkerboard(name):
    feedback = np.array(_checkerboard_episodes(name).feedback)
    # LinTS starts from zero, where a dislike says nothing: it guesses until a like.
    allowed_misses = 4 if name == "lints" else 1
    first_like = feedback.argmax(axis=1)
    assert first_like.max() <= allowed_misses
    for answers, start in zip(feedback, first_like, strict=True):
        np.testing.assert_array_equal(answers[start : start + 8], 1)


@pytest.mark.parametrize("name", SOCIAL)
def test_friends_of_the_same_kind_leave_nothing_to_guess(name):
    world = friends_decide()
    played = _play(AGENTS[name](world), world, world.split.test, horizon=8)
    np.testing.assert_array_equal(played.feedback, 1)


def test_a_list_of_items_scores_as_the_catalogue_does_and_is_finite(name):
    world = random_world()  # user 0 has no friends
    items = jnp.array([9, 0, 5])
    everything, some = _score_after(
        AGENTS[name](world), world, [3, 7], [1, 0], scored=(None, items)
    )
    assert np.isfinite(everything).all()
    np.testing.assert_allclose(some, everything[items], rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["mf_mean", "linucb", "ease_popularity", "linear_plus"]
)
def test_showing_nothing_teaches_nothing(name):
    world = random_world()
    agent = AGENTS[name](world)
    state = agent.init(jax.random.key(0))
    # One program an answer: two of them in one program may be rounded otherwise.
    observe, scores = jax.jit(agent.observe), jax.jit(agent.scores)
    context = agent.context(state, jnp.zeros(world.num_users, bool))
    memory = agent.begin(state, context, jnp.int32(0), jax.random.key(1))
    before = observe(state, context, memory, _answer(3, 1))
    after = observe(state, context, before, _answer(world.num_items, 0))
    np.testing.assert_array_equal(
        scores(state, context, after, None), scores(state, context, before, None)
    )


def test_feedback_of_validation_and_test_users_is_nowhere(name):
    world = random_world()
    unseen = np.concatenate([world.split.validation, world.split.test])
    other = flip_feedback(world, unseen)
    key = jax.random.key(0)
    ours, reference = AGENTS[name](world).init(key), AGENTS[name](other).init(key)
    jax.tree.map(np.testing.assert_array_equal, ours, reference)


@pytest.mark.parametrize("name", ["friends", "ease_friends", "linear"])
def test_feedback_of_hidden_users_is_not_in_the_prior(name):
    world = random_world()
    hidden, users = [1, 2, 3, 4, 5], [0, 7, 8, 11]
    other = flip_feedback(world, hidden)

    def prior(world, hidden=()):
        memory = _start(AGENTS[name](world), world, users, hidden)
        return np.array(memory if name == "friends" else memory.prior)

    np.testing.assert_allclose(prior(world, hidden), prior(other, hidden), rtol=1e-6)
    assert np.abs(prior(world) - prior(other)).max() > 0.01


def _state(name, world, **side):
    return AGENTS[name](world, **side).init(jax.random.key(0))


def _is_same(ours, reference):
    """Whether two states hold the same numbers in arrays of the same shapes."""
    leaves = [jax.tree.leaves(state) for state in (ours, reference)]
    return len(leaves[0]) == len(leaves[1]) and all(map(np.array_equal, *leaves))


def _tagged(world, users, tags):
    """The world in which each of these users called each item one of the tags."""
    who, items = (
        part.ravel() for part in np.meshgrid(users, np.arange(world.num_items))
    )
    given = np.resize(np.asarray(tags, np.int32), len(items))
    taggings = Taggings(users=who, items=items, tags=given, num_tags=8)
    return dataclasses.replace(world, taggings=taggings)


@pytest.mark.parametrize("name", READ_TAGS)
def test_tags_of_training_users_are_read_where_asked(name):
    world = random_world()
    seen, unseen = world.split.train, world.split.test
    tagged = _tagged(world, seen, [0, 1, 2, 1, 5])
    plain = _state(name, world)
    asked = _state(name, tagged, tag_weight=1.0, min_tag_uses=1)
    assert not _is_same(asked, plain)
    assert _is_same(_state(name, tagged), plain)
    of_unseen = _tagged(world, unseen, [3, 4])
    assert _is_same(_state(name, of_unseen, tag_weight=1.0, min_tag_uses=1), plain)


@pytest.mark.parametrize("name", READ_COUNTS)
def test_counts_of_training_users_are_read_where_asked(name):
    world = random_world()
    counts = np.arange(1.0, len(world.liked_items) + 1, dtype=np.float32)
    played = dataclasses.replace(world, like_weights=counts)
    plain = _state(name, world)
    assert _is_same(_state(name, played), plain)
    assert not _is_same(_state(name, played, rank_weight=0.7), plain)
    counts[world.like_offsets[world.split.test[0]] :] = 7.0  # who is last: unseen
    other = dataclasses.replace(world, like_weights=counts)
    ours, reference = (_state(name, w, rank_weight=0.7) for w in (played, other))
    assert _is_same(ours, reference)


def test_what_friends_play_most_comes_first():
    likes = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 0, 0]])
    world = make_world(likes, [(3, 0)], num_test=1)
    played = dataclasses.replace(
        world, like_weights=np.array([1, 9, *[1] * 6], np.float32)
    )
    for counts, first in ((world, None), (played, 1)):
        agent = friends_items(counts, prior_weight=1e-3, rank_weight=1.0)
        (scores,) = _score_after(agent, counts, [], [], user=3)
        if first is None:
            assert scores[0] == pytest.approx(scores[1], abs=1e-3)
        else:
            np.testing.assert_allclose(scores, [0.75, 1.25, 0.0], atol=2e-3)


def test_vectors_of_hidden_users_are_not_in_the_prior_of_greedy_mf():
    world = random_world()
    agent = AGENTS["mf_friends"](world)
    state = agent.init(jax.random.key(0))
    changed = state.replace(user_factors=state.user_factors.at[:6].add(100.0))
    other = dataclasses.replace(agent, init=lambda key: changed)
    ours, reference = (_start(a, world, [0, 7, 8], range(6)) for a in (agent, other))
    np.testing.assert_allclose(ours.ridge.scores, reference.ridge.scores, atol=1e-4)


def test_static_mf_scores_by_the_users_own_vector_where_it_may_be_read():
    world = random_world()
    agent, unseen = AGENTS["mf_static"](world), int(world.split.test[0])
    state = agent.init(jax.random.key(0))
    users, items = np.array(state.user_factors), np.array(state.item_factors)
    own, mean = users[1] @ items.T, users[world.split.train].mean(axis=0) @ items.T
    found = _start(agent, world, [1, unseen])
    np.testing.assert_allclose(found, [own, mean], atol=1e-5)
    others = np.setdiff1d(world.split.train, [1])
    hidden = _start(agent, world, [1], hidden=[1])
    np.testing.assert_allclose(
        hidden[0], users[others].mean(axis=0) @ items.T, atol=1e-5
    )


def test_linucb_adds_the_confidence_width_to_the_regression():
    world = random_world()
    items, answers = [4, 1, 9], [1.0, 0.0, 1.0]
    agent = linucb(world, rank=3, regularisation=2.0, exploration=0.5)
    factors = np.asarray(agent.init(jax.random.key(0)).item_factors, np.float64)
    shown = factors[items]
    inverse = np.linalg.inv(2.0 * np.eye(3) + shown.T @ shown)
    widths = np.einsum("nd,de,ne->n", factors, inverse, factors)
    expected = factors @ inverse @ shown.T @ answers + 0.5 * np.sqrt(widths)
    (scores,) = _score_after(agent, world, items, answers)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_lints_draws_differ_by_episode_and_by_step():
    world = random_world()
    agent = AGENTS["lints"](world)
    first = _score_after(agent, world, [3], [1])
    later = _score_after(agent, world, [3, world.num_items], [1, 0])
    elsewhere = _score_after(agent, world, [3], [1], seed=2)
    assert np.abs(np.subtract(first, later)).max() > 1e-3
    assert np.abs(np.subtract(first, elsewhere)).max() > 1e-3


def test_random_items_differ_by_episode():
    world = random_world()
    agent = AGENTS["random"](world)
    first, second = (_score_after(agent, world, [], [], seed=seed) for seed in (1, 2))
    assert np.argsort(first).tolist() != np.argsort(second).tolist()


def test_linear_policy_is_its_formula():
    world = random_world()
    user, items, answers = 4, [4, 1, 9], np.array([1.0, 0.0, 1.0])
    agent = linear(
        world,
        rank=world.num_items,
        regularisation=2.0,
        prior_weight=4.0,
        two_hop_weight=0.3,
        answer_weight=3.0,
        dislike_weight=0.1,
    )
    (scores,) = _score_after(agent, world, items, answers, user=user)
    likes = visible_likes(world).toarray().astype(np.float64)
    names = np.zeros((world.num_users, world.num_users))
    names[world.friend_targets, world.friend_sources] = 1
    visible = np.isin(np.arange(world.num_users), world.split.train)
    near = names[user] * visible
    far = (names[user] @ names > 0) & (names[user] == 0) & visible
    far[user] = False
    assert near.sum() >= 1 and far.sum() >= 1
    popular = likes.sum(axis=0) / visible.sum()
    prior = (near @ likes + 4 * popular) / (near.sum() + 4)
    prior += 0.3 * (far @ likes) / far.sum()
    inverse = np.linalg.inv(likes.T @ likes + 2.0 * np.eye(world.num_items))
    weights = -inverse / np.diag(inverse)
    expected = prior + 3 * (answers - 0.1 * (1 - answers)) @ weights[items]
    unshown = np.setdiff1d(np.arange(world.num_items), items)
    np.testing.assert_allclose(scores[unshown], expected[unshown], atol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda w: friends_items(w, prior_weight=0.0), "prior_weight must be above 0"),
        (lambda w: mf_mean(w, rank=2, regularisation=0.0), "regularisation must be"),
        (lambda w: mf_static(w, rank=0), "rank must be above 0, got 0"),
        (
            lambda w: ease_popularity(w, **EASE | {"dislike_weight": -1.0}),
            "dislike_weight must not be negative, got -1.0",
        ),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(random_world())


@pytest.fixture(scope="module")
def lastfm(shared_data):
    return load_dataset("lastfm", shared_data / "lastfm", split=0)


def test_friends_items_reach_the_reference_bar_on_lastfm(lastfm):
    agent = friends_items(lastfm, prior_weight=1.0)
    users = np.concatenate([lastfm.split.validation, lastfm.split.test])
    precision = _play(agent, lastfm, users, horizon=32).feedback.mean()
    assert precision == pytest.approx(0.281, abs=0.01)


def test_tuned_linear_policy_is_reproduced_on_lastfm(lastfm):
    agent = linear(
        lastfm,
        rank=64,
        regularisation=300.0,
        prior_weight=4.0,
        two_hop_weight=0.3,
        answer_weight=3.0,
        dislike_weight=0.1,
    )
    precision = _play(agent, lastfm, lastfm.split.test, horizon=32).feedback.mean()
    assert precision == pytest.approx(0.358, abs=0.005)
