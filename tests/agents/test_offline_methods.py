"""Formulas of single offline methods, against a plain reading of their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import random_world

from dlerse_jax.agents.offline.autorec import autorec
from dlerse_jax.agents.offline.din import din
from dlerse_jax.agents.offline.gru4rec import bpr_max, gru4rec
from dlerse_jax.agents.offline.multvae import multvae
from dlerse_jax.agents.offline.sasrec import sasrec
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.types import Observation

WORLD = random_world()
LIKED = [3, 7, 2]
ONE_BATCH = {
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "batches": 1,
    "batch_size": 64,
}


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _remember(agent, state, items):
    """What the agent carries once a new user has liked these items."""
    memory = agent.begin(state, (), jnp.int32(0), jax.random.key(0))
    zero = jnp.float32(0)
    for item in items:
        seen = Observation(
            user=jnp.int32(0),
            step=jnp.int32(1),
            item=jnp.int32(item),
            liked=jnp.float32(1),
            like_streak=zero,
            dislike_streak=zero,
            shown=jnp.full(4, 99, jnp.int32),
        )
        memory = agent.observe(state, (), memory, seen)
    return memory


@pytest.fixture(scope="module")
def small_din():
    agent = din(
        WORLD,
        width=3,
        hidden=4,
        dropout=0.0,
        session_length=5,
        num_candidates=2,
        **ONE_BATCH,
    )
    return agent, agent.init(jax.random.key(0))


def test_bpr_max_weighs_the_pairs_by_the_softmax_of_the_negatives():
    draws = np.random.default_rng(0)
    right, wrong = draws.normal(size=(4,)), draws.normal(size=(4, 6))
    is_negative = draws.random((4, 6)) < 0.6
    is_negative[3] = False
    expected = []
    for r, row, mask in zip(right[:3], wrong[:3], is_negative[:3], strict=True):
        r_j = row[mask]
        s_j = np.exp(r_j) / np.exp(r_j).sum()
        ranked = -np.log((s_j * _sigmoid(r - r_j)).sum())
        expected.append(ranked + 0.7 * (s_j * r_j**2).sum())
    losses = bpr_max(*map(jnp.asarray, (right, wrong, is_negative)), 0.7)
    np.testing.assert_allclose(losses, [*expected, 0.0], rtol=1e-5)


def test_a_step_without_negatives_has_no_gradient_and_no_nan():
    def loss(wrong):
        return bpr_max(jnp.ones(1), wrong, jnp.zeros((1, 3), bool), 1.0).sum()

    np.testing.assert_array_equal(jax.grad(loss)(jnp.ones((1, 3))), 0)


def test_autorec_minimises_the_squared_error_of_whole_rows():
    agent = autorec(WORLD, width=3, **ONE_BATCH | {"batch_size": 4000})
    state = agent.init(jax.random.key(0))
    world = make_simulator(WORLD, alpha=0.0, horizon=4)
    _, metrics = jax.jit(agent.pretrain)(state, world, jax.random.key(1), 0.5)
    params = jax.device_get(state.params)
    rows = visible_likes(WORLD).toarray()
    rows = rows[rows.any(axis=1)]
    hidden = _sigmoid(rows @ params.item_in + params.hidden_bias)
    errors = (hidden @ params.item_out.T + params.item_bias - rows) ** 2
    expected = errors.sum(axis=1).mean()  # over users, of whom 4000 are drawn
    np.testing.assert_allclose(metrics["pretrain_loss"], expected, rtol=0.02)


def test_multvae_decodes_the_mean_of_the_likes_scaled_to_unit_length():
    agent = multvae(
        WORLD, width=2, hidden=3, dropout=0.0, beta=0.2, annealing=0.5, **ONE_BATCH
    )
    state = agent.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1, state.params)
    state = state.replace(params=params)
    memory = _remember(agent, state, LIKED)
    row = np.zeros(WORLD.num_items)
    row[LIKED] = 1 / np.sqrt(len(LIKED))
    hidden = np.tanh(row @ params["item_in"] + params["hidden_bias"])
    both = hidden @ params["posterior"]["kernel"] + params["posterior"]["bias"]
    decoder = params["decoder"]
    hidden = np.tanh(both[:2] @ decoder["kernel"] + decoder["bias"])
    expected = hidden @ params["item_out"].T + params["item_bias"]
    np.testing.assert_allclose(
        agent.scores(state, (), memory, None), expected, rtol=1e-5
    )


def test_the_weight_of_the_kl_term_rises_to_beta():
    choices = {"width": 2, "hidden": 3, "dropout": 0.0, "annealing": 0.5}
    world = make_simulator(WORLD, alpha=0.0, horizon=4)

    def loss(beta, progress):
        agent = multvae(WORLD, beta=beta, **choices, **ONE_BATCH)
        state = agent.init(jax.random.key(0))
        return agent.pretrain(state, world, jax.random.key(1), progress)[1][
            "pretrain_loss"
        ]

    without = loss(0.0, 0.0)
    assert loss(0.2, 0.0) == without
    term = loss(0.2, 1.0) - without
    assert term > 0
    np.testing.assert_allclose(loss(0.2, 0.25) - without, term / 2, rtol=1e-3)


def test_din_adds_up_what_its_loss_sums_over_the_history(small_din):
    agent, state = small_din
    memory = _remember(agent, state, LIKED)
    params = state.params

    def tower(layers, x):
        for name in sorted(layers, key=lambda name: int(name.split("_")[1])):
            layer = layers[name]
            if "kernel" in layer:
                x = x @ layer["kernel"] + layer["bias"]
            else:
                x = np.where(x >= 0, x, layer["negative_slope"] * x)
        return x

    items = np.asarray(params["items"])
    expected = []
    for c, bias in zip(items, params["item_bias"], strict=True):
        attended = sum(
            tower(params["activation"], np.concatenate([h, h * c, c])) * h
            for h in items[LIKED]
        )
        both = np.concatenate([attended, attended * c, c])
        expected.append(tower(params["judge"], both)[0] + bias)
    scores = agent.scores(state, (), memory, None)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (gru4rec, {"num_unliked": 0}, "num_unliked must be 1 or more, got 0"),
        (gru4rec, {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        (sasrec, {"session_length": 0}, "session_length must be 1 or more, got 0"),
        (din, {"num_candidates": 0}, "must be 1 or more, got 5 and 0"),
        (din, {"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        (multvae, {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        (multvae, {"annealing": 0.0}, r"annealing must be in \(0, 1\], got 0.0"),
    ],
)
def test_wrong_choices_of_one_method_are_named(make, changes, message):
    session = {"dropout": 0.0, "session_length": 5}
    chosen = {
        gru4rec: session | {"num_unliked": 4, "score_penalty": 1.0},
        sasrec: session,
        din: session | {"hidden": 4, "num_candidates": 2},
        multvae: {"hidden": 3, "dropout": 0.0, "beta": 0.2, "annealing": 0.5},
    }[make]
    with pytest.raises(ValueError, match=message):
        make(WORLD, width=4, **ONE_BATCH, **chosen | changes)
