"""Returns over many steps equal their definition, and at the ends of lambda theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.learning.returns import lambda_targets

DRAWS = np.random.default_rng(0)
EPISODES, HORIZON = 7, 9
REWARDS, VALUES = DRAWS.normal(size=(2, EPISODES, HORIZON)).astype(np.float32)
IS_GREEDY = DRAWS.random((EPISODES, HORIZON)) < 0.6
ALL_GREEDY = np.ones_like(IS_GREEDY)
TRACES, GAMMAS = (0.0, 0.3, 0.9, 1.0), (0.0, 0.5, 0.9, 1.0)
targets_of = jax.jit(jax.vmap(lambda_targets, in_axes=(0, 0, 0, None, None)))


def _one_step(rewards, values, gamma):
    """r_t + gamma * V_{t+1}, and the last reward alone, to the bit: [B, T]."""
    later = np.pad(values[:, 1:], [(0, 0), (0, 1)])
    return rewards + np.float32(gamma) * later


def _forward_retrace(rewards, values, is_greedy, gamma, trace):
    """Equation 3 of Munos et al. 2016 for one episode, as a double loop: [T].

    Q of the item shown is drawn where it is not the greedy one: it must cancel.
    """
    horizon = len(rewards)
    shown = np.where(is_greedy, values, DRAWS.normal(size=horizon))
    later = np.append(values, 0.0)
    targets = np.array(shown, np.float64)
    for start in range(horizon):
        weight = 1.0
        for step in range(start, horizon):
            if step > start:
                weight *= gamma * trace * is_greedy[step]
            error = rewards[step] + gamma * later[step + 1] - shown[step]
            targets[start] += weight * error
    return targets


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("trace", TRACES)
def test_they_are_the_forward_view_of_retrace(trace, gamma):
    found = targets_of(REWARDS, VALUES, IS_GREEDY, gamma, trace)
    episodes = zip(REWARDS, VALUES, IS_GREEDY, strict=True)
    expected = [_forward_retrace(*episode, gamma, trace) for episode in episodes]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_trace_0_is_the_one_step_target(gamma):
    found = targets_of(REWARDS, VALUES, IS_GREEDY, gamma, 0.0)
    np.testing.assert_allclose(found, _one_step(REWARDS, VALUES, gamma), rtol=1e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_trace_1_without_a_cut_is_the_discounted_return_whatever_the_values(gamma):
    expected = np.array(REWARDS, np.float64)
    for step in reversed(range(HORIZON - 1)):
        expected[:, step] += gamma * expected[:, step + 1]
    for values in (VALUES, 100 * VALUES):
        found = targets_of(REWARDS, values, ALL_GREEDY, gamma, 1.0)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("trace", TRACES)
def test_an_item_that_was_not_greedy_hides_all_that_came_after_it(trace):
    cut = 4
    is_greedy = ALL_GREEDY.copy()
    is_greedy[:, cut] = False
    later = np.arange(HORIZON)
    other_values = np.where(later > cut, 9.0, VALUES).astype(np.float32)
    other_rewards = np.where(later >= cut, 9.0, REWARDS).astype(np.float32)
    found = targets_of(REWARDS, VALUES, is_greedy, 0.9, trace)
    other = targets_of(other_rewards, other_values, is_greedy, 0.9, trace)
    np.testing.assert_array_equal(found[:, :cut], other[:, :cut])
    assert (found[:, cut] != other[:, cut]).all()


@pytest.mark.parametrize(
    "trace, expected",
    [
        # By hand at gamma 1/2: V is 8, 4, 2 and rewards are 1; the third is not greedy.
        (0.0, [1 + 2.0, 1 + 1.0, 1.0]),
        (1.0, [1 + 0.5 * (1 + 1.0), 1 + 1.0, 1.0]),
        (0.5, [1 + 0.5 * (4 + 0.5 * (2 - 4)), 1 + 1.0, 1.0]),
    ],
)
def test_a_cut_by_hand(trace, expected):
    values, greedy = jnp.array([8.0, 4.0, 2.0]), jnp.array([True, True, False])
    found = lambda_targets(jnp.ones(3), values, greedy, 0.5, trace)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("trace", TRACES)
def test_nothing_follows_the_last_step_and_nothing_is_read_before_the_first(trace):
    found = targets_of(REWARDS, VALUES, IS_GREEDY, 0.9, trace)
    np.testing.assert_array_equal(found[:, -1], REWARDS[:, -1])
    values, is_greedy = VALUES.copy(), IS_GREEDY.copy()
    values[:, 0], is_greedy[:, 0] = np.nan, ~is_greedy[:, 0]
    again = targets_of(REWARDS, values, is_greedy, 0.9, trace)
    np.testing.assert_array_equal(again, found)
    # An episode of one step is its reward.
    alone = targets_of(REWARDS[:, :1], VALUES[:, :1], IS_GREEDY[:, :1], 0.9, trace)
    np.testing.assert_array_equal(alone, REWARDS[:, :1])


@pytest.mark.parametrize("trace", TRACES)
def test_an_episode_filled_up_with_steps_of_no_reward_and_no_value_is_unchanged(trace):
    longer = [np.pad(x, [(0, 0), (0, 3)]) for x in (REWARDS, VALUES, IS_GREEDY)]
    found = targets_of(*longer, 0.9, trace)
    short = targets_of(REWARDS, VALUES, IS_GREEDY, 0.9, trace)
    np.testing.assert_allclose(found[:, :HORIZON], short, atol=1e-6)
    np.testing.assert_array_equal(found[:, HORIZON:], 0.0)
