"""dlerse_rank: it starts as dlerse_plus does, and learns without seeing the answers.

The features of a training user, from the tables that their fold is played with, must
not depend on that user's own likes: that is what its learning rests on.
"""

import functools
import weakref
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from worlds import flip_feedback, friends_decide, random_world

import dlerse_jax as dj
from dlerse_jax.agents.registry import RANK
from dlerse_jax.agents.two_stage import session as first_stage
from dlerse_jax.agents.two_stage import tables as tables_module
from dlerse_jax.agents.two_stage.alike import RARE
from dlerse_jax.agents.two_stage.belonging import community_scores
from dlerse_jax.agents.two_stage.features import FEATURES, _largest, features
from dlerse_jax.agents.two_stage.fold_tables import surroundings
from dlerse_jax.agents.two_stage.rows import make_rows
from dlerse_jax.agents.two_stage.tables import by_popularity, multiples, stacked
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.rollout import rollout
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.experiment.build import build_agent
from dlerse_jax.experiment.sweep import changed_config
from dlerse_jax.graph import communities
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk
from dlerse_jax.runs.directory import flat_items

HORIZON = 5
SMALL = {
    "network.width": 6,
    "ridge_rank": 4,
    "folds": 4,
    "candidates": 4,
    "episodes": 8,
    "rank.width": 8,
    "batch_size": 16,
    "horizon": HORIZON,
}
WORLD = random_world(num_users=40, num_items=20)
ROOTS = seed_keys(jnp.arange(2))
NOBODY = jnp.zeros(WORLD.num_users, bool)  # is masked


def _agent(world=WORLD, **changes):
    return dj.make_agent(RANK, world, **SMALL | changes)


def _tables_of(world):
    return _agent(world).init(ROOTS[0]).shared


_tables = functools.cache(functools.partial(_tables_of, WORLD))


def _likers(cross_fitted):
    """Who likes what: [N, U] ones."""
    rows = cross_fitted.likers
    starts, columns = np.array(rows.starts), np.array(rows.columns)
    dense = np.zeros((len(starts) - 2, rows.num_columns))
    for item, row in enumerate(dense):
        row[columns[starts[item] : starts[item + 1]]] = 1
    return dense


def _episodes(agent, state, world, users):
    simulator = make_simulator(world, alpha=0.0, horizon=HORIZON)

    @jax.jit  # one program in place of two hundred
    def play(state, users):
        context = agent.context(state, NOBODY)
        return rollout(agent, state, context, simulator, users, jax.random.key(0))

    return play(state, jnp.asarray(users))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_new_one_shows_what_a_new_dlerse_plus_shows(power):
    own = {"width": 6, "ridge_rank": 4, "horizon": 5, "activity_power": power}
    plus = dj.make_agent("dlerse_plus", WORLD, hidden=6, **own)
    users = np.concatenate([WORLD.split.validation, WORLD.split.test, [0, 1, 2]])
    shown = [
        _episodes(agent, agent.init(ROOTS[0]), WORLD, users).items
        for agent in (plus, _agent(activity_power=power))
    ]
    np.testing.assert_array_equal(*shown)


ANSWERS = [(3, 1), (7, 0), (11, 1), (2, 1)]


@jax.jit
def _after_answers(cross_fitted, fold_tables, masked, user):
    """Features of every item after ANSWERS, and the candidates."""
    around = surroundings(cross_fitted, masked, fold_tables)

    def observe(session, answer):
        item, liked = answer
        return first_stage.observe_answer(
            cross_fitted, around, session, item, liked.astype(float)
        ), None

    session = first_stage.start_session(cross_fitted, around, user, HORIZON)
    items, liked = jnp.array(ANSWERS).T
    session, _ = jax.lax.scan(observe, session, (items, liked))
    numbers = features(cross_fitted, around, session, jnp.arange(WORLD.num_items))
    return numbers, _candidates(cross_fitted, around, session, session.items)


def _candidates(cross_fitted, around, session, shown):
    first = first_stage.first_scores(cross_fitted, around, session)
    of_communities = community_scores(around.fold_tables, session.belonging)
    return first_stage.candidates(around, first, of_communities, shown)


@pytest.mark.parametrize("most", [64, 2])
def test_features_of_a_fold_know_nothing_of_its_users(monkeypatch, most):
    """Nor does the choice of the items that an item is compared with."""
    monkeypatch.setattr(tables_module, "MOST_ALIKE", most)
    monkeypatch.setattr(communities, "USERS_EACH", 8)
    cross_fitted = _tables_of(WORLD)
    fold = 2
    user = int(cross_fitted.folds[fold, 0])
    members = np.unique(cross_fitted.folds[fold])
    masked = NOBODY.at[members].set(True)
    other = _tables_of(flip_feedback(WORLD, members))
    assert not np.array_equal(_likers(cross_fitted), _likers(other))
    seen = [
        _after_answers(each, 1 + fold, masked, user) for each in (cross_fitted, other)
    ]
    np.testing.assert_allclose(seen[0][0], seen[1][0], atol=1e-5)
    np.testing.assert_array_equal(seen[0][1], seen[1][1])
    # The tables of everybody do know: what is tested above could fail.
    leaks = [_after_answers(each, 0, NOBODY, user)[0] for each in (cross_fitted, other)]
    assert np.abs(leaks[0] - leaks[1]).max() > 0.05


def test_likeness_is_the_cosine_over_the_other_users():
    cross_fitted = _tables()
    user = int(WORLD.split.train[0])
    numbers, _ = _after_answers(cross_fitted, 0, NOBODY, user)
    likers = _likers(cross_fitted)
    likers[:, user] = 0
    count = likers.sum(axis=1)
    cosine = likers @ likers.T / np.sqrt(np.maximum(np.outer(count, count), 1))
    fewer = np.minimum.outer(count, count)
    alike = cosine * fewer / (fewer + RARE)
    np.fill_diagonal(alike, 0)
    liked = [item for item, answer in ANSWERS if answer]
    wanted = {
        "most_alike": alike[:, liked].max(axis=1),
        "three_alike": alike[:, liked].sum(axis=1),  # three likes in all
        "most_alike_disliked": alike[:, 7],
    }
    for name, expected in wanted.items():
        column = numbers[:, FEATURES.index(name)]
        np.testing.assert_allclose(column, expected, atol=1e-5, err_msg=name)


def test_factors_say_what_answers_make_of_an_item_and_how_sure_that_is():
    user = int(WORLD.split.train[0])
    numbers, _ = _after_answers(_tables(), 0, NOBODY, user)
    tables = jax.tree.map(lambda leaf: leaf[0], _tables().tables_by_fold)
    rows = np.array(tables.item_out)[np.array(tables.place)]
    item_out, ridge_items = np.split(rows, [tables.width], axis=1)
    item_in = np.array(jax.vmap(tables.item_in)(jnp.arange(WORLD.num_items)))
    shown, liked = np.array(ANSWERS).T
    known = float(tables.posterior.regularisation) * np.eye(ridge_items.shape[1])
    known += ridge_items[shown].T @ ridge_items[shown]
    variance = np.sum(ridge_items.T * np.linalg.solve(known, ridge_items.T), axis=0)
    memory = [item_in[shown[liked == answer]].sum(axis=0) for answer in (1, 0)]
    wanted = {
        "liked": float(tables.session_gain) * item_out @ memory[0],
        "disliked": float(tables.session_gain) * item_out @ memory[1],
        "posterior_std": np.sqrt(variance),
    }
    for name, expected in wanted.items():
        column = numbers[:, FEATURES.index(name)]
        np.testing.assert_allclose(column, expected, rtol=1e-4, atol=1e-5)


def test_friends_and_like_minded_people_are_counted():
    cross_fitted = _tables()
    user = int(np.argmax(WORLD.num_friends))
    numbers, _ = _after_answers(cross_fitted, 0, NOBODY, user)
    likers = _likers(cross_fitted)  # nobody outside training likes anything here
    is_training = np.isin(np.arange(WORLD.num_users), WORLD.split.train)
    near = np.unique(WORLD.friend_sources[WORLD.friend_targets == user])
    near = near[is_training[near]]
    weight = np.where(is_training, 1 / np.sqrt(np.maximum(likers.sum(axis=0), 1)), 0)
    weight[user] = 0  # nobody is like-minded to themselves
    like_minded = np.zeros(WORLD.num_users)
    for item, liked in ANSWERS:
        sign = 1 if liked else -0.1
        rare = 1 / np.sqrt(likers[item].sum())
        like_minded = np.maximum(like_minded + sign * rare * likers[item] * weight, 0)
    wanted = {
        "friend_likers": np.log1p(likers[:, near].sum(axis=1)),
        "weighted_friends": likers[:, near] @ weight[near] / (len(near) + 4),
        "like_minded_friends": likers[:, near] @ like_minded[near] / (len(near) + 4),
        "like_minded_users": likers @ like_minded**2 / np.sum(like_minded**2),
    }
    for name, expected in wanted.items():
        column = numbers[:, FEATURES.index(name)]
        np.testing.assert_allclose(column, expected, rtol=1e-4, err_msg=name)


def test_an_item_and_the_session_are_told_as_they_are():
    """By the weight of likes, in units of Q and less for who likes much."""
    cross_fitted = _agent(activity_power=1.0).init(ROOTS[0]).shared
    user = int(np.argmax(WORLD.num_friends))
    numbers, _ = _after_answers(cross_fitted, 0, NOBODY, user)
    found = dict(zip(FEATURES, np.array(numbers).T, strict=True))
    likers = _likers(cross_fitted)
    num_likers, each = likers.sum(axis=1), np.maximum(likers.sum(axis=0), 1)
    weights = likers / each * likers.sum() / np.sum(likers / each)
    weights *= 2 * base_config().plus.scale  # a like is that much above a dislike
    is_training = np.isin(np.arange(WORLD.num_users), WORLD.split.train)
    named = np.zeros((WORLD.num_users, WORLD.num_users))
    named[WORLD.friend_targets, WORLD.friend_sources] = 1
    near = (named[user] > 0) & is_training
    far = (named[user] @ named > 0) & (named[user] == 0) & is_training
    far[user] = False
    assert near.sum() > 1 and far.sum() > 1
    wanted = {
        "popularity": np.log(weights.sum(axis=1) / is_training.sum() + 1e-3),
        "rank": np.argsort(np.argsort(-num_likers, kind="stable")) / WORLD.num_items,
        "strength": weights.sum(axis=1) / num_likers,
        "friends": weights[:, near].sum(axis=1) / (near.sum() + 4),
        "two_hop_likers": likers[:, far].mean(axis=1),
        "num_friends": np.full(WORLD.num_items, np.log1p(near.sum())),
        "step": np.full(WORLD.num_items, 4 / HORIZON),
        "num_liked": np.full(WORLD.num_items, 3 / HORIZON),
        "num_disliked": np.full(WORLD.num_items, 1 / HORIZON),
        "first": found["copied"]
        + found["liked"]
        - 0.1 * found["disliked"]
        + found["ridge_posterior"],
    }
    for name, expected in wanted.items():
        np.testing.assert_allclose(
            found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize(
    ("row", "total"), [([3, 3, 3, 3, 1], 9), ([2, 1, 2, 1, 0], 5), ([0, 0, 4, 0, 0], 4)]
)
def test_of_equal_numbers_three_count(row, total):
    assert _largest(jnp.array([row], jnp.float32)).tolist() == [total]


def test_likers_that_are_not_read_are_as_those_that_are():
    """Item 0 has four likers, of whom two are read: a friend, and somebody else."""
    likers = make_rows(sparse.csr_matrix([[1.0] * 4, [0.0] * 4]))
    tables = SimpleNamespace(
        read=SimpleNamespace(likers=2), likers=likers, prior_weight=1.0
    )
    session = SimpleNamespace(
        like_minded=jnp.array([-0.5, 0.25, 9.0, 9.0, 0.0]),
        friends=SimpleNamespace(count=3.0),
        squares=2.0,
    )
    found = first_stage.liked_by_those(tables, session, jnp.arange(2))
    expected = [2 * 0.5 / 4, 0], [2 * (0.5**2 + 0.25**2) / 2, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_strata_hold_every_item_once_and_popular_ones_apart():
    popularity = np.random.default_rng(0).integers(0, 9, 23)
    order = by_popularity(popularity, 5)
    assert sorted(order[:23]) == list(range(23)) and list(order[23:]) == [23, 23]
    first = popularity[order[:5]]  # of each stratum
    assert first.min() >= np.sort(popularity)[-5]
    cross_fitted = _agent(candidates=99).init(ROOTS[0]).shared
    assert cross_fitted.tables_by_fold.num_strata == WORLD.num_items


def test_proposals_are_the_best_that_was_not_shown_of_each_stratum():
    """By the first stage, and by communities; what both propose stands there once."""
    cross_fitted = _agent(candidates=7).init(ROOTS[0]).shared
    around = surroundings(cross_fitted, NOBODY, 0)
    scores = np.random.default_rng(3).normal(size=(2, WORLD.num_items))
    order = np.array(around.fold_tables.order)
    strata = order.reshape(-1, around.fold_tables.num_strata).T
    assert strata.shape == (8, 3) and strata.max() == WORLD.num_items  # some is padding
    shown = np.array([*strata[1], np.argmax(scores[0]), WORLD.num_items])
    left = [np.setdiff1d(items, [*shown, WORLD.num_items]) for items in strata]
    wide = [np.concatenate(left[first::2]) for first in (0, 1)]  # of communities
    scores[1, wide[0]] = scores[0, wide[0]]  # both propose the same here
    of_rows = jnp.asarray(np.pad(scores, ((0, 0), (0, 1)), constant_values=-np.inf))
    found = first_stage.candidates(around, *of_rows[:, order], jnp.asarray(shown))
    assert found[1] == WORLD.num_items  # none is left of this one
    best = [items[np.argmax(scores[0, items])] for items in left if len(items)]
    np.testing.assert_array_equal(np.delete(found[:8], 1), best)
    other = wide[1][np.argmax(scores[1, wide[1]])]
    assert other not in best  # what the test is about
    np.testing.assert_array_equal(found[8:], [WORLD.num_items, other])


@pytest.mark.parametrize("count", [20, 99])
def test_all_items_are_candidates_once_where_they_are_few(count):
    cross_fitted = _agent(candidates=count).init(ROOTS[0]).shared
    _, items = _after_answers(cross_fitted, 0, NOBODY, WORLD.split.test[0])
    left = np.setdiff1d(np.arange(WORLD.num_items), [item for item, _ in ANSWERS])
    assert sorted(items) == [*left, *[WORLD.num_items] * len(ANSWERS)]


def test_communities_are_those_of_friends_and_then_of_answers(monkeypatch):
    """Bayes' rule in each run, written out; features have the log of what it says."""
    monkeypatch.setattr(communities, "USERS_EACH", 8)
    monkeypatch.setattr(communities, "CHANCE_USERS", 0.5)  # they differ by far
    cross_fitted = _tables_of(WORLD)
    user = int(np.argmax(WORLD.num_friends))
    near = WORLD.friend_sources[WORLD.friend_targets == user]
    hidden, *near = near[np.isin(near, WORLD.split.train)]  # may not be read
    assert len(near) > 1
    numbers, _ = _after_answers(cross_fitted, 0, NOBODY.at[hidden].set(True), user)
    tables = jax.tree.map(lambda leaf: np.array(leaf[0]), cross_fitted.tables_by_fold)
    own = tables.communities
    chances = own.chances[tables.place]
    log = np.log(own.prior + own.members[near].sum(axis=0))
    for item, liked in ANSWERS:
        log += np.log(chances[item] if liked else 1 - chances[item])
    of_runs = np.exp(log).reshape(own.num_runs, -1)
    assert of_runs.shape == (4, 3)
    weights = of_runs / of_runs.sum(axis=1, keepdims=True) / own.num_runs
    column = numbers[:, FEATURES.index("community")]
    np.testing.assert_allclose(column, np.log(chances @ weights.ravel()), rtol=1e-4)


def test_it_learns_what_is_liked_and_its_chunks_do_not_matter():
    world = dj.synthetic_dataset(num_users=120, num_items=60, mean_likes=10.0)
    agent = _agent(
        world,
        candidates=16,
        batches=8,
        learning_rate=0.03,
        epsilon=1.0,  # whatever it has learned, it sees the same
        **{"network.width": 8},
    )
    simulator = make_simulator(world, alpha=0.0, horizon=HORIZON)
    ends = []
    for lengths in ((24,), (12, 12)):
        states, done, losses = init_states(agent, ROOTS), 0, []
        for length in lengths:
            update = train_chunk(agent, "pretrain", length)
            states, metrics = update(states, simulator, ROOTS, done, 24)
            losses.append(metrics["pretrain_loss"])
            done += length
        ends.append(jax.device_get(states.params))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *ends
    )
    _, again = update(states, simulator, ROOTS, 0, 24)  # the same episodes once more
    assert np.all(again["pretrain_loss"] < 0.99 * losses[0])
    first, second = (jax.tree.map(lambda x, i=i: x[i], ends[0].head) for i in (0, 1))
    gaps = jax.tree.map(lambda x, y: np.abs(x - y).max(), first, second)
    assert min(jax.tree.leaves(gaps)) > 0  # two seeds, two heads


def test_some_episodes_are_played_as_if_nobody_was_named():
    world = friends_decide(num_users=48)  # everybody has friends
    simulator = make_simulator(world, alpha=0.0, horizon=HORIZON)
    means = []
    for share in (0.0, 0.5):
        agent = _agent(world, episodes=64, friendless_share=share)
        update, state = jax.jit(agent.pretrain), agent.init(ROOTS[0])
        state, _ = update(state, simulator, ROOTS[0], jnp.float32(0))
        means.append(state.params.moments.mean)
    own = [FEATURES.index(w) for w in ("num_friends", "friends", "two_hop_likers")]
    shares = np.array(means[1])[own] / np.array(means[0])[own]
    assert (shares > 0.3).all() and (shares < 0.7).all()


def test_scores_of_all_items_put_proposals_first_and_the_chosen_one_on_top():
    agent = _agent()
    state = agent.init(ROOTS[0])
    draws = np.random.default_rng(7)
    head = jax.tree.map(
        lambda x: x + np.float32(0.3 * draws.normal(size=x.shape)), state.params.head
    )
    state = state.replace(params=state.params.replace(head=head))
    nothing = jnp.full(HORIZON, WORLD.num_items)

    @jax.jit
    def answers(state):
        context = agent.context(state, NOBODY)
        memory = agent.begin(state, context, WORLD.split.test[0], ROOTS[0])
        offered = _candidates(state.shared, context, memory, nothing)
        few = agent.scores(state, context, memory, offered)
        best = agent.best(state, context, memory, nothing)
        return agent.scores(state, context, memory, None), offered, few, best

    scores, offered, few, best = jax.device_get(answers(state))
    items = set(offered) - {WORLD.num_items}  # and less what two of them propose
    assert set(np.argsort(-scores)[: len(items)]) == items
    assert np.argmax(scores) == best
    is_item = offered < WORLD.num_items
    np.testing.assert_allclose(few[is_item], scores[offered[is_item]], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1}, "rank.folds must be 2 or more"),
        ({"candidates": 0}, "rank.candidates must be 1 or more, got 0"),
        ({"episodes": 0}, "rank.episodes must be 1 or more, got 0"),
        ({"epsilon": 1.5}, "rank.epsilon must be between 0 and 1, got 1.5"),
        ({"friendless_share": -0.1}, "rank.friendless_share must be between 0 and 1"),
        ({"ridge_rank": 0}, "plus.ridge_rank must be 1 or more, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        _agent(**changes)


def test_of_cross_fitted_tables_one_is_held_beside_the_whole():
    made = []

    def table(number: int) -> dict:
        assert all(former() is None for former in made), f"held at {number}"
        leaf = jnp.full(3, number)
        made.append(weakref.ref(leaf))
        return {"a": leaf, "b": jnp.float32(number)}

    whole = stacked(map(table, range(3)), 5)
    np.testing.assert_array_equal(whole["b"], [0, 1, 2, 2, 2])
    np.testing.assert_array_equal(whole["a"], [[n] * 3 for n in (0, 1, 2, 2, 2)])


def test_one_matrix_holds_all_that_a_start_has():
    tables = jax.tree.map(lambda leaf: leaf[0], _tables().tables_by_fold)
    plus = dj.make_agent("dlerse_plus", WORLD, hidden=6, width=6, ridge_rank=4)
    start = plus.init(ROOTS[0]).shared
    items = jnp.arange(WORLD.num_items)
    assert tables.width == 6
    item_in = jax.vmap(tables.item_in)(items)
    ridge_items = tables.item_out[tables.place, tables.width :]
    np.testing.assert_allclose(item_in, start.tables.item_in, rtol=1e-5, atol=1e-6)
    projection = np.asarray(ridge_items) * np.asarray(tables.posterior.scale)
    np.testing.assert_allclose(projection, start.posterior.projection, rtol=1e-5)


def test_what_is_no_multiple_comes_as_near_as_it_can():
    given = np.array([[1, 2], [0, 0], [1, 1]], np.float32)
    wanted = np.array([[3, 6], [0, 0], [1, 0]], np.float32)
    np.testing.assert_allclose(multiples(given, wanted, axis=1), [3, 0, 0.5])
    np.testing.assert_allclose(multiples(given, wanted, axis=0), [2, 12 / 5])


def test_tables_to_serve_are_those_of_everybody_in_every_place():
    config = _agent().source.config
    config = changed_config(base_config(), dict(flat_items(config)))
    served = build_agent(config, WORLD, to_serve=True).init(ROOTS[0]).shared
    whole = _tables()
    for one, other in zip(
        jax.tree.leaves(served.tables_by_fold),
        jax.tree.leaves(whole.tables_by_fold),
        strict=True,
    ):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1:], jnp.broadcast_to(one[0], one[1:].shape))
    assert not np.array_equal(
        whole.tables_by_fold.item_out[1], whole.tables_by_fold.item_out[0]
    )


def test_of_many_items_each_is_compared_with_fewer(monkeypatch):
    likes = visible_likes(WORLD)
    monkeypatch.setattr(tables_module, "MOST_PAIRS", 2 * WORLD.num_items)
    assert tables_module.nearest_of(likes).longest == 2
    monkeypatch.setattr(tables_module, "MOST_PAIRS", 1)
    assert tables_module.nearest_of(likes).longest == 1
