"""One reading of a config: who reads it, and that its parts fit each other."""

import ast
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_config

import dlerse_jax
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment import build as building
from dlerse_jax.experiment.build import build, build_all

PACKAGE = Path(dlerse_jax.__file__).parent
READERS = ("experiment", "defaults.py")


def keys_read(source: str) -> list[str]:
    """`config.SECTION`, and the same of what commands hold, in a module."""
    sections = set(base_config())
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr in sections
        and ast.unparse(node.value).rpartition(".")[2] in ("config", "base")
    ]


def test_nothing_outside_the_experiment_room_reads_a_config():
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    others = [path for path in modules if path.parts[0] not in READERS]
    assert others
    assert {
        str(path): found
        for path in others
        if (found := keys_read((PACKAGE / path).read_text()))
    } == {}


def test_the_check_sees_a_reader():
    assert keys_read("x = run.config.reward.alpha") == ["line 1: run.config.reward"]
    assert keys_read("x = base.seed") == ["line 1: base.seed"]


def test_each_experiment_of_a_group_has_its_own_alpha_and_all_else_in_common():
    configs = [tiny_config(), tiny_config()]
    for config, alpha in zip(configs, (0.25, 0.5), strict=True):
        config.agent.name, config.reward.alpha = "popularity", alpha
    one, other = build_all(configs, building.build_dataset(configs[0]))
    assert [float(found.environment.alpha) for found in (one, other)] == [0.25, 0.5]
    assert one.environment.likes is other.environment.likes
    assert one.agent is other.agent and one.task is other.task
    assert float(build(configs[1]).environment.alpha) == 0.5


@pytest.mark.parametrize("agent", ["dlerse_con", "dlerse_rank"])
def test_an_agent_made_for_another_miss_reward_is_refused(agent, monkeypatch):
    config, other = tiny_config(), tiny_config()
    config.agent.name, other.reward.miss = agent, 0.0
    environments = building.build_environments
    monkeypatch.setattr(
        building, "build_environments", lambda _, known: environments([other], known)
    )
    message = f"{agent} was made for a dislike that pays -1, in the environment it"
    with pytest.raises(ValueError, match=message):
        build(config)


def test_agent_and_environment_know_what_the_task_leaves_known():
    config = tiny_config()
    config.agent.name, config.evaluation.protocol = "popularity", "warm"
    found = build(config)
    known = found.task.known
    assert len(known.liked_items) < len(found.dataset.liked_items)
    offsets = np.asarray(found.environment.likes.offsets)
    assert np.array_equal(offsets, known.like_offsets)
