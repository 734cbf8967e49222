"""What makes an update honest: who is masked, which network is asked, how it steps.

The functions that an update calls are watched: what they were given is noted, as
numbers, while the compiled update runs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import SETTINGS, q_of_catalogue, small_agent
from worlds import friends_decide, random_world

import dlerse_jax as dj
from dlerse_jax.agents.dqn import learner, playing
from dlerse_jax.agents.two_stage import agent as two_stage
from dlerse_jax.agents.two_stage.order import rank_state
from dlerse_jax.environment.reward import streaks_before
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.learning.optimizer import warmup_cosine
from dlerse_jax.learning.train_loop import PHASES
from dlerse_jax.networks.heads import DuelingHead
from dlerse_jax.types import Observation

HORIZON, ALPHA = 3, 0.3
WORLD = friends_decide()
SIMULATOR = make_simulator(WORLD, alpha=ALPHA, horizon=HORIZON)
AGENT = small_agent(
    WORLD, HORIZON, {"mask_most": 0.0, "supervised_weight": 1.0}, width=4
)
KEY = jax.random.key(3)
# What is noted of a call, by the function's name: of its arguments and its result.
WATCHED = {
    (playing, "policy_context"): lambda arguments, _, __: (arguments[2],),  # masked
    (playing, "recorded_rollout"): lambda arguments, options, _: (
        arguments[5],  # players
        options["exploration"].epsilon,
    ),
    (learner, "social_of_all"): lambda arguments, _, __: arguments[
        2:4
    ],  # masked, users
    (learner, "td_targets"): lambda arguments, _, found: (*arguments[-1], found[0]),
    (learner, "td_losses"): lambda arguments, _, found: (
        arguments[2].value,
        arguments[3].mean() - found[2].mean(),  # the mean error
    ),
    (learner, "pretrain_losses"): lambda arguments, _, found: (
        arguments[4].value,
        found.mean(),
    ),
}


@pytest.fixture(scope="module")
def state():
    """Online, target and average parameters that all differ."""
    state = AGENT.init(jax.random.key(0))

    def shaken(seed):
        leaves, structure = jax.tree.flatten(state.params)
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        moved = [
            leaf + jax.random.normal(key, leaf.shape)
            for leaf, key in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(structure, moved)

    return state.replace(params=shaken(1), target=shaken(2), average=shaken(3))


def watched(update, picks, *examples):
    """An update, compiled, that also gives what is noted of the functions it calls.

    picks: (module, name) -> what to note of a call. run(*arguments) -> (notes, result);
    notes: name -> a list of tuples of arrays, one per call.
    """
    notes = {name: [] for _, name in picks}
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), pick in picks.items():
            patch.setattr(
                module, name, _noting(notes[name], getattr(module, name), pick)
            )
        program = jax.jit(update).lower(*examples).compile()

    def run(*arguments):
        for calls in notes.values():
            calls.clear()
        found = program(*arguments)
        jax.effects_barrier()
        return {name: list(calls) for name, calls in notes.items()}, found

    return run


def _noting(calls, original, pick):
    def noting(*arguments, **options):
        found = original(*arguments, **options)
        picked = pick(arguments, options, found)
        jax.debug.callback(lambda *numbers: calls.append(numbers), *picked)
        return found

    return noting


@pytest.fixture(scope="module")
def updates(state):
    """(phase, progress) -> what one update called, then the state after it and what
    it measured."""

    @functools.cache
    def program(phase):
        make = getattr(AGENT, phase)

        def update(state, progress):
            return make(state, SIMULATOR, KEY, progress)

        return watched(update, WATCHED, state, jnp.float32(0))

    return functools.cache(
        lambda phase, progress: program(phase)(state, jnp.float32(progress))
    )


def test_pretraining_moves_as_if_the_encoder_were_unrolled_again(state):
    """A gradient through the steps that were played is that of the same steps."""
    update = functools.partial(AGENT.pretrain, world=SIMULATOR, key=KEY)
    halfway = jnp.float32(0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playing, "STEPWISE", ())
        unrolled, expected = jax.jit(update)(state, progress=halfway)
    played, found = jax.jit(lambda state: update(state, progress=halfway))(state)
    norm = "gradient_norm"
    np.testing.assert_allclose(found[norm], expected[norm], rtol=1e-4)
    # Of an Adam step the size says nothing about its gradient's: its moments do.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6)
    jax.tree.map(close, played.optimizer, unrolled.optimizer)
    encoder = played.optimizer[1].mu["network"]["interests"]
    assert min(jnp.abs(leaf).max() for leaf in jax.tree.leaves(encoder)) > 1e-6


@pytest.mark.parametrize("phase", ["pretrain", "q_learning"])
def test_users_who_play_or_are_learned_from_are_masked(updates, phase):
    calls, _ = updates(phase, 0.5)
    masked, players = calls["policy_context"][0][0], calls["recorded_rollout"][0][0]
    assert np.all(masked[players])
    for masked, users in calls["social_of_all"]:
        assert np.all(masked[users])
        assert masked.sum() == len(np.unique(users))  # mask_most is 0: nobody else


def test_the_target_network_values_and_the_online_network_chooses(updates, state):
    calls, _ = updates("q_learning", 0.5)
    users, items, liked, targets = calls["td_targets"][0]
    masked = calls["social_of_all"][0][0]
    for episode in range(6):
        expected = _double_q(
            state, masked, users[episode], items[episode], liked[episode]
        )
        np.testing.assert_allclose(targets[episode], expected, atol=1e-4)


def _double_q(state, masked, user, items, liked):
    """Targets of one episode by a loop: r + gamma Q_target(argmax Q_online), less the
    streak's share of the reward at hand."""
    online = _q_by_step(state.params, state, masked, user, items, liked)
    slow = _q_by_step(state.target, state, masked, user, items, liked)
    runs = np.stack(streaks_before(liked))
    streaks = ALPHA * (runs[0] - runs[1])
    targets = []
    for step in range(HORIZON):
        base = 1.0 if liked[step] else -1.0
        later = 0.0
        if step + 1 < HORIZON:
            best = int(jnp.argmax(online[step + 1]))
            later = slow[step + 1, best] + streaks[step + 1]
        targets.append(base + SETTINGS["gamma"] * later)
    return np.array(targets)


def _q_by_step(params, state, masked, user, items, liked):
    """Q of every item before each answer, -inf for those shown: [T, N]."""
    playing = state.replace(average=params)
    context = AGENT.context(playing, masked)
    memory = AGENT.begin(playing, context, user, KEY)
    runs, rows = streaks_before(liked), []
    allowed = np.ones(WORLD.num_items, bool)
    for step in range(HORIZON):
        q = q_of_catalogue(AGENT, playing, context, memory, jnp.asarray(allowed))
        rows.append(jnp.where(allowed, q, -jnp.inf))
        if step + 1 == HORIZON:
            break
        allowed[items[step]] = False
        memory = AGENT.observe(
            playing,
            context,
            memory,
            Observation(
                user=user,
                step=jnp.int32(step + 1),
                item=items[step],
                liked=liked[step],
                like_streak=runs[0][step + 1],
                dislike_streak=runs[1][step + 1],
                shown=items,
            ),
        )
    return jnp.stack(rows)


def test_the_supervised_loss_counts_per_like(updates):
    """A mean over items is small where few are liked, and the other loss is not."""
    calls, (_, measured) = updates("q_learning", 0.5)
    likes = WORLD.num_likes[WORLD.split.train]
    expected = calls["pretrain_losses"][0][1] / (likes.mean() / WORLD.num_items)
    beside = measured["loss"] - measured["td_loss"]
    np.testing.assert_allclose(beside, expected, rtol=1e-4)  # its weight is 1


def test_the_target_network_follows_by_a_polyak_step(updates, state):
    _, (after, _) = updates("q_learning", 0.5)
    _assert_step(state.target, after.params, after.target, SETTINGS["target_step"])
    moved = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), after.target, after.params)
    assert max(jax.tree.leaves(moved)) > 0.01  # it is a network of its own


@pytest.mark.parametrize("phase", ["pretrain", "q_learning"])
def test_the_average_follows_by_its_own_step(updates, state, phase):
    _, (after, _) = updates(phase, 0.5)
    _assert_step(state.average, after.params, after.average, SETTINGS["average_step"])


def _assert_step(old, new, found, step):
    expected = jax.tree.map(lambda x, y: (1 - step) * x + step * y, old, new)
    close = functools.partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(close, found, expected)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.9])
def test_exploration_falls_linearly(updates, progress):
    calls, _ = updates("q_learning", progress)
    epsilon = calls["recorded_rollout"][0][1]
    first, last = SETTINGS["epsilon_first"], SETTINGS["epsilon_last"]
    expected = first - progress * (first - last)
    np.testing.assert_allclose(epsilon, expected, rtol=1e-6)


@pytest.mark.parametrize("phase", ["pretrain", "q_learning"])
def test_the_learning_rate_warms_up_and_falls(updates, state, phase):
    rate = SETTINGS[
        "pretrain_learning_rate" if phase == "pretrain" else "learning_rate"
    ]
    sizes = {}
    for progress in (0.01, 0.5, 0.9):
        _, (after, _) = updates(phase, progress)
        # Adam's first step is the learning rate itself, wherever a gradient is.
        moved = jax.tree.map(
            lambda x, y: jnp.abs(x - y).max(), after.params, state.params
        )
        sizes[progress] = max(jax.tree.leaves(moved))
    for progress, size in sizes.items():
        pace = float(warmup_cosine(jnp.float32(progress), warmup=0.1))
        np.testing.assert_allclose(size, rate * pace, rtol=0.02)


def test_q_learning_begins_with_the_value_of_later_steps(updates, state):
    """Its first update moves V alone, to where the mean error of that batch is 0.

    Moved by b, Q of every step rises by b, and targets of all but the last by gamma b.
    """
    calls, (after, _) = updates("q_learning", 0.0)
    steps = {}
    for name in ("params", "target", "average"):
        old, new = getattr(state, name), getattr(after, name)
        step = jax.tree.map(lambda x, y: np.array(y - x), old, new)
        (steps[name],) = step["network"]["head"]["value"].pop("bias")
        assert all(not leaf.any() for leaf in jax.tree.leaves(step))
    error = calls["td_losses"][0][1]
    left = 1 - SETTINGS["gamma"] * (HORIZON - 1) / HORIZON
    found = [step * left for step in steps.values()]
    np.testing.assert_allclose(found, [error] * 3, rtol=1e-4)
    assert abs(error) > 0.01


def test_the_supervised_loss_beside_q_learning_leaves_later_steps_out(updates):
    calls, _ = updates("q_learning", 0.5)
    _, _, liked, targets = calls["td_targets"][0]
    value, fitted = calls["td_losses"][0][0], calls["pretrain_losses"][0][0]
    later = targets - np.where(liked, 1, -1)
    np.testing.assert_allclose(fitted, value - later, atol=1e-5)
    assert np.abs(later[:, :-1]).max() > 0.1 > 1e-4 > np.abs(later[:, -1]).max()


def test_what_is_evaluated_plays_the_averaged_parameters(state):
    users = jnp.zeros(WORLD.num_users, bool).at[0].set(True)

    def first_scores(state):
        context = AGENT.context(state, users)
        memory = AGENT.begin(state, context, jnp.int32(0), KEY)
        return np.asarray(AGENT.scores(state, context, memory, None))

    ours = first_scores(state)
    elsewhere = state.replace(params=state.target, target=state.params)
    np.testing.assert_array_equal(first_scores(elsewhere), ours)
    moved = first_scores(state.replace(average=state.params))
    assert np.abs(moved - ours).max() > 1e-3


def test_dropout_leaves_the_mean_where_it_was():
    head = DuelingHead(
        width=2, hidden=2, dropout=0.25, initial_value=0.0, remembers=False
    )
    x = jnp.linspace(1.0, 2.0, 8)

    @jax.vmap
    def drop(key):
        return head.apply({}, x, method=DuelingHead._drop, rngs={"dropout": key})

    dropped = np.asarray(drop(jax.random.split(KEY, 4_000)))
    np.testing.assert_allclose(np.mean(dropped == 0), 0.25, atol=0.01)
    np.testing.assert_allclose(dropped.mean(axis=0), x, rtol=0.05)


SMALL_RANK = {
    "network.width": 6,
    "ridge_rank": 4,
    "folds": 4,
    "candidates": 3,
    "episodes": 8,
    "rank.width": 8,
    "rank.batches": 1,
    "horizon": HORIZON,
}


WATCHED_RANK = {
    # masked, number of the tables
    (two_stage, "surroundings"): lambda arguments, _, __: arguments[1:],
    (two_stage.sharding, "over_users"): lambda arguments, _, __: (arguments[1][0],),
}


@pytest.fixture(scope="module", params=[*PHASES, "answers"])
def rank_update(request):
    """dlerse_rank, its state, and by seed one update: what it called, and its end."""
    world = random_world(num_users=40, num_items=20)
    learns = {"rank.q_learning": True, "act_batch": 8}
    learns["answer_rank"] = 2 if request.param == "answers" else 0
    agent = dj.make_agent("dlerse_rank", world, **SMALL_RANK, **learns)
    state = agent.init(jax.random.key(0))
    simulator = make_simulator(world, alpha=0.0, horizon=HORIZON)
    phase = agent.pretrain if request.param == "pretrain" else agent.q_learning

    def update(state, key):
        return phase(state, simulator, key, jnp.float32(0.5))[0]

    run = watched(update, WATCHED_RANK, state, jax.random.key(0))
    return agent, state, lambda seed: run(state, jax.random.key(seed))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_re_ranker_learns_from_a_fold_with_the_tables_made_without_it(
    seed, rank_update
):
    _, state, update = rank_update
    calls, folds = update(seed)[0], np.asarray(state.shared.folds)
    ((masked, tables),), ((players,),) = calls["surroundings"], calls["over_users"]
    (fold,) = (n for n, members in enumerate(folds) if players[0] in members)
    assert np.isin(players, folds[fold]).all()
    assert tables == 1 + fold  # tables 0 are of everybody
    assert np.flatnonzero(masked).tolist() == np.unique(folds[fold]).tolist()


def test_the_held_out_fold_is_never_learned_from_and_plays_without_its_tables(
    rank_update,
):
    agent, state, update = rank_update
    drawn = {int(update(seed)[0]["surroundings"][0][1]) for seed in range(24)}
    assert drawn == {1, 2, 3}  # of four folds
    states, users = agent.held_out(state)
    assert users.tolist() == np.unique(state.shared.folds[3]).tolist()
    nobody = jnp.zeros(state.shared.is_training.shape, bool)
    for played, tables in ((state, 0), (states, 4)):
        found = agent.context(played, nobody).fold_tables.item_out
        np.testing.assert_array_equal(
            found, state.shared.tables_by_fold.item_out[tables]
        )


@pytest.mark.parametrize("rank_update", ["pretrain"], indirect=True)
def test_what_the_re_ranker_plays_is_the_average_of_what_learns(rank_update):
    _, state, update = rank_update
    state = rank_state(state)
    after = rank_state(update(0)[1])
    old, new, plays = (
        head["params"]["found"]["kernel"]
        for head in (state.head, after.head, after.params.head)
    )
    step = two_stage.AVERAGE_STEP
    np.testing.assert_allclose(plays, (1 - step) * old + step * new, atol=1e-6)
    assert np.abs(new - old).max() > 1e-4
    line, own = (
        head["params"]["linear"]["kernel"][0]
        for head in (after.params.head, state.head)
    )
    assert abs(line - own) > 0.01  # calibrated, and not on the way to it
