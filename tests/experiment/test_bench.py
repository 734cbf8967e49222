"""`dlerse bench`: machine-readable lines, and figures that belong together."""

import json

import jax.numpy as jnp
import pytest

from dlerse_jax.commands.main import main
from dlerse_jax.experiment.bench import compiled, floors, measure


def test_bench_writes_one_json_line_a_part_with_its_floor(capsys, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    config = "--config=experiments/synthetic.py:quick"
    assert main(["bench", config, "--config.agent.name=popularity"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    parts = {line["part"]: line for line in lines}
    assert {"floor of acting", "simulator alone", "acting"} <= set(parts)
    assert "pretrain" not in parts  # popularity does not learn
    assert parts["acting"]["floor"] == "floor of acting"
    assert parts["acting"]["ratio_to_floor"] > 0
    assert all({"device", "versions", "commit", "items"} <= set(line) for line in lines)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("evaluation.every=3", "which is not a multiple of tracking.every"),
        ("data.synthetic.num_users=12", "12 users are too few"),
    ],
)
def test_what_no_run_can_be_made_of_is_refused(capsys, request, monkeypatch, key, told):
    monkeypatch.chdir(request.config.rootpath)
    words = ["--config=experiments/synthetic.py", f"--config.{key}"]
    assert main(["bench", *words]) == 2
    assert told in (said := capsys.readouterr()).err and not said.out


@pytest.mark.parametrize("batch, horizon", [(8, 5), (3, 7)])
def test_floor_of_an_update_is_twice_the_products_of_acting(batch, horizon):
    parts = {part.name: part for part in floors(100, batch, horizon, 4)}
    acting, q_learning = parts["floor of acting"], parts["floor of learn"]
    assert acting.amount == 2 * batch * horizon * 4 * 100
    assert q_learning.amount == 2 * acting.amount


def test_parts_take_turns_and_the_first_call_is_not_counted():
    calls = []
    parts = [compiled(name, jnp.sin, jnp.ones(3)) for name in ("a", "b")]
    for part in parts:
        object.__setattr__(part, "call", lambda name=part.name: calls.append(name))
    names = [line["part"] for line in measure(parts, rounds=2)]
    assert names == ["a", "b"]
    assert calls == ["a", "b"] * 3
