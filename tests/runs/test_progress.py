"""What a run says while it trains: how far it is, how fast, and for how long yet."""

from types import SimpleNamespace

import pytest

from dlerse_jax.runs import progress


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monotonic = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", monotonic)
    return clock


def test_a_resumed_run_tells_the_speed_and_the_time_left_of_its_own_steps(
    clock, capsys
):
    line = progress.ProgressLine("run", 20, 100)
    clock.now += 5
    line.show(30, {"train/loss": 0.5, "eval/precision": 0.25})
    assert capsys.readouterr().err == (
        "run  30/100  eta 0:00:35  2 steps/s  loss 0.5  precision 0.25\n"
    )


def test_lines_are_seconds_apart_and_the_last_step_has_one(clock, capsys):
    line = progress.ProgressLine("run", 0, 100)
    for second in range(1, 25):
        clock.now += 1
        line.show(4 * second, {})
    clock.now += 1
    line.show(100, {})
    places = [words.split()[1] for words in capsys.readouterr().err.splitlines()]
    assert places == ["4/100", "44/100", "84/100", "100/100"]


def test_a_quiet_run_says_nothing(capsys):
    progress.teller("run", quiet=True)("a step")
    assert capsys.readouterr().err == ""
    progress.teller("run", quiet=False)("a step")
    assert capsys.readouterr().err == "run  a step\n"
