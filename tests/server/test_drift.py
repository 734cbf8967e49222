"""The alarm: not without a fall of the share of likes, and soon after one."""

import numpy as np

from dlerse_jax.server.drift import PageHinkley


def until_alarm(test, share, most, rng):
    """Answers until the alarm; `most` where there is none."""
    for count, liked in enumerate(rng.random(most) < share):
        test.hear(bool(liked))
        if test.alarm:
            return count
    return most


def test_there_is_no_alarm_while_the_share_stays():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.7, 0.98):
        assert until_alarm(PageHinkley(), share, 10_000, rng) == 10_000


def test_a_fall_is_found_about_when_the_formula_says():
    rng = np.random.default_rng(1)
    delays = []
    for _ in range(10):
        test = PageHinkley()
        until_alarm(test, 0.4, 3000, rng)
        delays.append(until_alarm(test, 0.2, 3000, rng))
    expected = 25 / (0.2 - 0.05)
    assert 0.7 * expected < np.mean(delays) < 1.5 * expected


def test_a_rise_is_no_alarm_and_a_new_model_begins_anew():
    rng, test = np.random.default_rng(2), PageHinkley()
    until_alarm(test, 0.5, 500, rng)
    assert until_alarm(test, 0.9, 2000, rng) == 2000
    assert until_alarm(test, 0.1, 2000, rng) < 200
    for _ in range(500):
        test.hear(True)
    assert test.alarm  # until somebody has looked
    test.reset()
    assert test == PageHinkley()
