"""Compiled training: one compile, seeds that differ, and numbers that repeat."""

import functools
import time
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import assert_same, everyday_learner, one_seed

from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.learning.train_loop import (
    PHASES,
    Programs,
    init_states,
    seed_keys,
    train_chunk,
)

pytestmark = pytest.mark.slow

WORLD, AGENT, CHUNKS = everyday_learner()
SEEDS = jnp.array([0, 1])
TOTAL = 6  # updates of a phase, in chunks of two


@pytest.fixture(scope="module")
def simulator():
    return make_simulator(WORLD, alpha=0.1, horizon=AGENT.horizon)


@pytest.fixture(scope="module")
def device_copy():
    """Fresh states of both seeds, on the host."""
    return jax.device_get(init_states(AGENT, seed_keys(SEEDS)))


@pytest.fixture(scope="module")
def train(simulator, device_copy):
    """Trains both seeds, three chunks a phase -> states and the metrics of chunks."""

    def train_phases(seeds=SEEDS, phases=PHASES):
        # A chunk eats the states it is given.
        states, roots, metrics = (
            jax.tree.map(jnp.array, device_copy),
            seed_keys(seeds),
            [],
        )
        for phase in phases:
            for first in range(0, TOTAL, 2):
                states, measured = CHUNKS[phase](states, simulator, roots, first, TOTAL)
                metrics.append(measured)
        return jax.device_get((states, metrics))

    return train_phases


@pytest.fixture(scope="module")
def trained(train):
    return train()


def test_three_chunks_of_a_phase_compile_once(trained):
    del trained  # the chunks have run
    assert [CHUNKS[phase].program._cache_size() for phase in PHASES] == [1, 1]


class SlowToLook(dict):
    """Between looking for a key and putting it there another thread gets its turn."""

    def __contains__(self, key):
        found = super().__contains__(key)
        time.sleep(0.05)
        return found


def test_two_threads_that_ask_for_a_chunk_get_the_same(
    simulator, device_copy, monkeypatch
):
    programs, submitted = Programs(AGENT, 1), []
    programs.compiled = SlowToLook()
    monkeypatch.setattr(
        programs._threads, "submit", lambda *work: submitted.append(work) or Future()
    )
    inputs = device_copy, simulator, seed_keys(SEEDS), jnp.int32(0), jnp.int32(TOTAL)
    with ThreadPoolExecutor(2) as askers:
        asked = [askers.submit(programs.prepare, "pretrain", *inputs) for _ in "ab"]
    assert asked[0].result() is asked[1].result() and len(submitted) == 1


def test_three_evaluations_compile_once(simulator, device_copy, trained):
    play, users = greedy_rollout(AGENT), WORLD.split.test
    for states in (device_copy, trained[0], trained[0]):
        evaluation = evaluate_users(
            play,
            jax.tree.map(jnp.asarray, states),
            simulator,
            users,
            seed_keys(SEEDS),
            agent_name=AGENT.name,
        )
        assert evaluation.items.shape == (2, len(users), AGENT.horizon)
    assert play._jitted._cache_size() == 1


def test_an_agent_can_be_trained_again(simulator):
    # A chunk donates its states; once it ate the tables an agent starts from as well.
    roots = seed_keys(SEEDS)
    first, second = (
        CHUNKS["pretrain"](init_states(AGENT, roots), simulator, roots, 0, TOTAL)
        for _ in range(2)
    )
    assert_same(*jax.device_get((first, second)))


def test_the_same_seed_twice_is_bit_equal(train, trained):
    assert_same(train(), trained)


def test_learning_moves_the_parameters_and_measures_finite_numbers(
    device_copy, trained
):
    states, metrics = trained
    moved = jax.tree.map(
        lambda x, y: np.abs(x - y).max(), states.params, device_copy.params
    )
    assert max(jax.tree.leaves(moved)) > 1e-3
    numbers = states.params, states.target, states.average, metrics
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(numbers))


def test_seeds_differ_in_parameters_and_in_the_first_episodes(device_copy, trained):
    drawn = [
        leaf
        for leaf in jax.tree.leaves(device_copy.params["network"])
        if leaf.std() > 0  # biases and what starts at zero are not drawn
    ]
    assert drawn and all((leaf[0] != leaf[1]).all() for leaf in drawn)
    replay = trained[0].replay
    assert (replay.users[0] != replay.users[1]).any()
    assert (replay.items[0] != replay.items[1]).any()


def test_a_seed_does_not_depend_on_the_one_beside_it(train, trained):
    beside_another, _ = train(SEEDS.at[0].set(7))
    assert_same(one_seed(beside_another, 1), one_seed(trained[0], 1))
    assert (beside_another.replay.users[0] != trained[0].replay.users[0]).any()


def test_a_seed_alone_in_one_chunk_equals_it_vmapped_in_three(
    simulator, device_copy, train
):
    vmapped, _ = train(phases=["pretrain"])
    alone = jax.tree.map(
        lambda leaf: jnp.array(leaf[1:]), device_copy.replace(shared=None)
    )
    one_chunk = train_chunk(AGENT, "pretrain", TOTAL)
    alone, _ = one_chunk(
        alone.replace(shared=jax.tree.map(jnp.array, device_copy.shared)),
        simulator,
        seed_keys(SEEDS[1:]),
        0,
        TOTAL,
    )
    alone, vmapped = one_seed(alone), one_seed(vmapped, 1)
    assert_same(alone.replay, vmapped.replay)
    close = functools.partial(np.testing.assert_allclose, atol=1e-4)
    jax.tree.map(close, alone.params, vmapped.params)
