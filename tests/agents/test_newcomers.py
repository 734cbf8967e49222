"""Somebody who is not in the data set gets what a user of whom nothing is known gets.

Test users stand for newcomers: each is played by index, and again by the lists of
friends and of people two hops away, wherever their padding is. Each compiles once.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import make_world

import dlerse_jax as dj
from dlerse_jax.agents.registry import AGENTS, CLASSICAL, OFFLINE, RANK, inputs_read
from dlerse_jax.agents.two_stage.features import FEATURES
from dlerse_jax.graph.friends import friend_table, two_hop_table
from dlerse_jax.networks.rank_head import no_moments
from dlerse_jax.types import Newcomer, Observation

# dlerse_myopic is dlerse_con but for gamma, which is nothing to who plays.
CASES = [(name, {}) for name in AGENTS if name != "dlerse_myopic"]
CASES += [("dlerse_con", {"fan_out": 2}), ("dlerse_con", {"hops": 3})]
CASES += [(name, {"far_hops": 3}) for name in ("linear", "dlerse_plus", RANK)]
HORIZON, NUM_USERS, NUM_ITEMS = 4, 24, 12
FRIENDLESS = 20
PEOPLE = np.array([2, 7, 11, 15, FRIENDLESS], np.int32)
ANSWERS = jnp.array([3, 8, 0]), jnp.array([1.0, 0.0, 1.0])


def _world():
    """Friends by chance, other test users among them; one user has none.

    The last user is a training user, whose likes show where padding is read.
    """
    draws = np.random.default_rng(0)
    likes = draws.random((NUM_USERS, NUM_ITEMS)) < 0.4
    pairs = np.argwhere(draws.random((NUM_USERS, NUM_USERS)) < 0.15)
    pairs = [pair for pair in pairs if pair[0] not in (pair[1], FRIENDLESS)]
    world = make_world(likes, pairs)
    train = np.setdiff1d(world.split.train, PEOPLE)
    split = dataclasses.replace(world.split, train=train, test=PEOPLE)
    return dataclasses.replace(world, split=split)


WORLD = _world()
FRIENDS = friend_table(WORLD)


def _lists(table, length):
    """Rows of a table for the people, padded behind: [B, length]."""
    padded = np.full((len(PEOPLE), length), NUM_USERS, np.int32)
    for row, user in zip(padded, PEOPLE, strict=True):
        named = table.friends[table.offsets[user] : table.offsets[user + 1]]
        assert len(named) <= length
        row[: len(named)] = named
    return padded


def _newcomers(agent):
    """People with their padding behind, then in between, then without lists: [3 B]."""

    def thrice(padded):
        apart = np.random.default_rng(1).permuted(padded, axis=1)
        nobody = np.full_like(padded, NUM_USERS)
        return jnp.asarray(np.concatenate([padded, apart, nobody]))

    far = two_hop_table(friend_table(WORLD, *agent.far))
    return Newcomer(
        friends=thrice(_lists(FRIENDS, 10)), two_hops=thrice(_lists(far, NUM_USERS))
    )


def _agent(name, **changes):
    if name in CLASSICAL or name in OFFLINE:
        return dj.make_agent(name, WORLD, **changes)
    own = {"network.width": 8, "horizon": HORIZON}
    own |= {"folds": 3} if name == RANK else {"hidden": 8, "act_batch": 4}
    own |= {"ridge_rank": 4} if name in (RANK, "dlerse_plus") else {}
    return dj.make_agent(name, WORLD, **own | changes)


def _noise(agent):
    """In place of what is trained: a new network has zeros that would hide much, and
    draws its numbers in a program of its own."""
    if not agent.served:
        return {}
    shapes = jax.eval_shape(agent.init, jax.random.key(0))
    draws = np.random.default_rng(0)
    numbers = jax.tree.map(
        lambda leaf: draws.normal(0, 0.3, leaf.shape).astype(leaf.dtype),
        getattr(shapes, agent.served),
    )
    if agent.name == RANK:  # moments are of features that were seen
        numbers = numbers.replace(moments=no_moments(len(FEATURES)))
    return {agent.served: numbers}


def _played(agent, state, context, memory, user):
    """Scores of every item [2, N]: before any answer, and after some."""
    items = jnp.arange(NUM_ITEMS)
    before = agent.scores(state, context, memory, items)

    def observe(memory, answer):
        step, item, liked = answer
        seen = Observation(
            user=user,
            step=step,
            item=item,
            liked=liked,
            like_streak=liked,
            dislike_streak=1 - liked,
            shown=jnp.full(HORIZON, NUM_ITEMS),
        )
        return agent.observe(state, context, memory, seen), None

    steps = jnp.arange(1, 1 + len(ANSWERS[0]))
    memory, _ = jax.lax.scan(observe, memory, (steps, *ANSWERS))
    return jnp.stack([before, agent.scores(state, context, memory, items)])


def _play_all(agent, people, newcomers):
    """People by index [B], and newcomers [3 B]: [4, B, 2, N].

    What they begin with is of one form, so that it is played as one large batch.
    """

    @jax.jit
    def play(key, noise):
        state = agent.init(key)
        state = state.replace(**noise) if noise else state
        masked = jnp.zeros(NUM_USERS, bool).at[PEOPLE].set(True)
        context = agent.context(state, masked)
        begin = jax.vmap(agent.begin, in_axes=(None, None, 0, None))  # adds B
        memories = [begin(state, context, who, key) for who in (people, newcomers)]
        memories = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *memories)
        nothing = jnp.zeros((1, 0), jnp.int32)  # lists of no length are traced alone
        empty = Newcomer(friends=nothing, two_hops=nothing)
        jax.eval_shape(begin, state, context, empty, key)
        users = jnp.concatenate([people, jnp.full(3 * len(people), NUM_USERS)])
        one = functools.partial(_played, agent, state, context)
        scores = jax.vmap(one)(memories, users)
        return scores.reshape(4, len(people), *scores.shape[1:])

    return jax.device_get(play(jax.random.key(0), _noise(agent)))


def assert_same_scores(ours, reference):
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name, changes", CASES)
def test_a_newcomer_is_a_user_of_whom_nothing_is_known(name, changes):
    agent = _agent(name, **changes)
    scores = _play_all(agent, jnp.asarray(PEOPLE), _newcomers(agent))
    assert np.isfinite(scores).all()
    by_index, as_newcomers, other_padding, without_lists = scores
    assert_same_scores(as_newcomers, by_index)
    assert_same_scores(other_padding, by_index)
    of_friendless = by_index[list(PEOPLE).index(FRIENDLESS)]
    assert_same_scores(without_lists, np.stack([of_friendless] * len(PEOPLE)))
    if "friends" in inputs_read(name):
        assert np.abs(by_index - of_friendless[None]).max() > 1e-3
