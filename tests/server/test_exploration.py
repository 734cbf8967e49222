"""Chances that are said are the chances with which items are shown."""

import itertools

import numpy as np
import pytest

from dlerse_jax.server.exploration import (
    Exploration,
    conditional_chances,
    draw,
    first_chances,
    parse_exploration,
)

SCORES = np.array([3.0, 2.5, 1.0, -1.0])
POLICIES = [
    Exploration(),
    Exploration(kind="epsilon", amount=0.3),
    Exploration(kind="softmax", amount=0.7),
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_chances_of_all_lists_sum_to_one(policy):
    """Of every list of three of the four, as the product over its positions."""
    total = 0.0
    for places in itertools.permutations(range(4), 3):
        taken, chance = np.zeros(4, bool), 1.0
        for place in places:
            chance *= conditional_chances(policy, SCORES, taken)[place]
            taken[place] = True
        total += chance
    assert total == pytest.approx(1)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_lists_are_drawn_as_often_as_their_chances_say(policy):
    rng, draws = np.random.default_rng(0), 4000
    counts, said = {}, {}
    for _ in range(draws):
        places, chances = draw(policy, SCORES, 2, rng)
        counts[tuple(places)] = counts.get(tuple(places), 0) + 1
        said[tuple(places)] = chances.prod()
    for places, count in counts.items():
        spread = np.sqrt(draws * said[places] * (1 - said[places]))
        assert abs(count - draws * said[places]) <= 4 * spread + 1e-9
    assert sum(said.values()) == pytest.approx(1)


def test_chances_by_hand():
    epsilon = Exploration(kind="epsilon", amount=0.4)
    assert first_chances(epsilon, SCORES) == pytest.approx([0.7, 0.1, 0.1, 0.1])
    taken = np.array([True, False, False, False])
    later = conditional_chances(epsilon, SCORES, taken)
    assert later == pytest.approx([0, 0.6 + 0.4 / 3, 0.4 / 3, 0.4 / 3])
    softmax = Exploration(kind="softmax", amount=2.0)
    weights = np.exp(SCORES / (2.0 * SCORES.std()))
    assert first_chances(softmax, SCORES) == pytest.approx(weights / weights.sum())
    left = weights * ~taken  # the temperature stays that of all candidates
    later = conditional_chances(softmax, SCORES, taken)
    assert later == pytest.approx(left / left.sum())
    assert first_chances(Exploration(), SCORES).tolist() == [1, 0, 0, 0]


def test_softmax_asks_for_no_scale_and_takes_equal_scores():
    softmax = Exploration(kind="softmax", amount=1.0)
    chances = first_chances(softmax, SCORES)
    assert first_chances(softmax, 1e6 * SCORES + 5) == pytest.approx(chances)
    assert first_chances(softmax, np.full(3, 7.0)) == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_list_is_as_long_as_there_are_candidates(policy):
    rng = np.random.default_rng(0)
    places, chances = draw(policy, SCORES[:2], 5, rng)
    assert sorted(places) == [0, 1]
    assert chances[1] == pytest.approx(1)
    assert [len(part) for part in draw(policy, SCORES[:0], 5, rng)] == [0, 0]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_policy_is_read_as_it_is_written(policy):
    assert parse_exploration(str(policy)) == policy


def test_epsilon_may_be_one_where_all_candidates_are_alike():
    always = parse_exploration("epsilon:1")
    assert first_chances(always, SCORES) == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(
    "text", ["", "greedy", "none:1", "epsilon", "epsilon:x", "epsilon:0", "epsilon:1.5"]
    + ["softmax:-1", "softmax:inf", "softmax:nan"],
)  # fmt: skip
def test_another_policy_is_refused(text):
    with pytest.raises(ValueError, match="expected none, epsilon:0.1 or softmax:0.5"):
        parse_exploration(text)
