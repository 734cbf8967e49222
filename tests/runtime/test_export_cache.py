"""Kept programs: made once, told apart by all they hang on, and lost without harm."""

import dataclasses
import errno
import os
import pathlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import assert_same, small_agent
from tiny import tiny_config
from worlds import friends_decide

from dlerse_jax.data import dataset_digest
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.evaluator import make_evaluator
from dlerse_jax.evaluation.protocols import make_task
from dlerse_jax.experiment import runner
from dlerse_jax.experiment.vmapped_keys import static_words
from dlerse_jax.learning.train_loop import (
    Programs,
    init_states,
    seed_keys,
    state_shapes,
    train_chunk,
)
from dlerse_jax.runtime import export_cache, sharding

WORLD = friends_decide()
AGENT = small_agent(WORLD, 3, fusion="none")
ROOTS = seed_keys(jnp.arange(2))
INPUTS = ([np.float32(3)], {"key": jax.random.key(0)})


@pytest.fixture
def folder(tmp_path):
    """An empty folder where JAX keeps what it compiles."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "traced"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def counted():
    """A function of INPUTS that counts in `calls` how often it is traced."""

    def function(numbers, named):
        function.calls += 1
        chance = jax.random.uniform(named["key"])
        return [numbers[0] + chance], {"twice": 2 * numbers[0]}

    function.calls = 0
    return function


def exported_program(function, inputs, identity):
    """As a process of its own would: JAX knows functions it has traced before."""

    def of_its_own(*arguments):
        return function(*arguments)

    return export_cache.exported_program(of_its_own, inputs, identity)


def test_a_kept_program_is_not_traced_again(folder, counted):
    expected = counted(*INPUTS)
    for _ in range(2):
        found = exported_program(counted, INPUTS, "agent")
        assert_same(found(*INPUTS), expected)
    assert counted.calls == 2 and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("what", ["identity", "shape", "setting", "code"])
def test_another_one_is_a_program_of_its_own(folder, counted, monkeypatch, what):
    exported_program(counted, INPUTS, "agent")
    numbers, identity, precision = INPUTS[0], "agent", None
    if what == "identity":
        identity = "another"
    elif what == "shape":
        numbers = [np.zeros(2, np.float32)]
    elif what == "setting":
        precision = "float32"
    else:
        monkeypatch.setattr(export_cache, "_digest_of_code", lambda: "edited")
    with jax.default_matmul_precision(precision):
        exported_program(counted, (numbers, INPUTS[1]), identity)
    assert counted.calls == 2 and len(list(folder.iterdir())) == 2


def test_a_damaged_one_is_made_anew_and_the_least_used_goes(
    folder, counted, monkeypatch
):
    monkeypatch.setattr(export_cache, "NUM_KEPT", 2)
    exported_program(counted, INPUTS, "first")
    (first,) = folder.iterdir()
    first.write_bytes(first.read_bytes()[:-1])
    for number, identity in enumerate(["first", "second", "first", "third"]):
        exported_program(counted, INPUTS, identity)
        for path in folder.iterdir():  # a clock's tick between two uses
            stat = path.stat()
            os.utime(path, (stat.st_atime, stat.st_mtime - 1))
        assert counted.calls == [2, 3, 3, 4][number]
    exported_program(counted, INPUTS, "first")
    assert counted.calls == 4 and len(list(folder.iterdir())) == 2


def test_a_folder_that_takes_no_file_is_a_warning(folder, counted, caplog):
    folder.write_text("a file where the folder should be")
    assert_same(exported_program(counted, INPUTS, "agent")(*INPUTS), counted(*INPUTS))
    assert "was not kept" in caplog.text


def test_a_folder_that_is_read_and_never_written_serves_all_the_same(
    folder, counted, monkeypatch
):
    exported_program(counted, INPUTS, "agent")

    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(pathlib.Path, "touch", read_only)
    assert_same(exported_program(counted, INPUTS, "agent")(*INPUTS), counted(*INPUTS))
    assert counted.calls == 2  # once to export it, once here


def test_a_folder_in_the_place_of_a_program_is_passed_over(folder, counted):
    exported_program(counted, INPUTS, "agent")
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    assert_same(exported_program(counted, INPUTS, "agent")(*INPUTS), counted(*INPUTS))


def test_training_from_a_kept_program_is_the_same_training(folder):
    """To the bit, as far as its states and what it measured go."""
    world = make_simulator(WORLD, alpha=0.1, horizon=AGENT.horizon)
    world = world.replace(alpha=jnp.full(2, 0.1))
    inputs = world, ROOTS, np.int32(0), np.int32(4)
    expected = train_chunk(AGENT, "pretrain", 2)(init_states(AGENT, ROOTS), *inputs)
    for _ in range(2):
        trained = Programs(AGENT, 2, "agent")(
            "pretrain", init_states(AGENT, ROOTS), *inputs
        )
        assert_same(trained, expected)
    assert len(list(folder.iterdir())) == 1


def test_shapes_of_states_are_known_before_them():
    states = init_states(AGENT, ROOTS)
    assert jax.tree.map(jax.typeof, states) == jax.tree.map(
        lambda shape: jax.core.ShapedArray(shape.shape, shape.dtype),
        state_shapes(AGENT, 2),
    )


@pytest.mark.parametrize(
    ("place", "phases"), [(0, ["pretrain"]), (1, ["pretrain", "q_learning"])]
)
def test_a_fresh_run_compiles_ahead_what_its_devices_can_bear(
    tmp_path, monkeypatch, place, phases
):
    """On a CPU the first phase alone, which all that is beside training waits for."""
    asked, waited = [], []

    def prepare(_, phase, *__):
        asked.append(phase)
        return SimpleNamespace(result=lambda: waited.append(phase))

    monkeypatch.setattr(Programs, "prepare", prepare)
    monkeypatch.setattr(sharding, "by_backend", lambda choices: choices[place])
    run = runner.build_run(tiny_config(), tmp_path)
    assert asked == phases
    first, _, _, second, *_ = run.ahead  # the evaluation's two programs between
    assert not waited
    first()
    second()
    assert waited == ["pretrain", "q_learning"]
    del asked[:]
    (again,) = runner.build_runs([tiny_config()], [tmp_path], will_train=False)
    assert asked == [] and not again.ahead


def test_an_evaluation_is_kept_and_compiled_before_its_first_call(folder, monkeypatch):
    """To the bit the same as without; another agent's is another program."""
    task = make_task(
        "cold", WORLD, split=0, others_per_like=1, ranking_of="cold", most_users=0
    )
    world = make_simulator(WORLD, alpha=0.1, horizon=AGENT.horizon)
    inputs = init_states(AGENT, ROOTS), world, task.users, ROOTS
    expected = make_evaluator(AGENT, task)(*inputs).metrics
    assert not folder.exists()
    make_evaluator(AGENT, task, "agent").prepare(state_shapes(AGENT, 2), *inputs[1:])
    make_evaluator(AGENT, task, "another").prepare(state_shapes(AGENT, 2), *inputs[1:])
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(export_cache.export, "export", None)  # nothing is traced again
    assert_same(make_evaluator(AGENT, task, "agent")(*inputs).metrics, expected)


def test_a_config_names_its_program_and_a_data_set_itself():
    one, other, deeper = tiny_config(), tiny_config(), tiny_config()
    other.reward.alpha, deeper.network.hops = 0.3, one.network.hops + 1
    assert static_words(one) == static_words(other) != static_words(deeper)
    names = np.array(["a", "b"], dtype=object)
    digests = [
        dataset_digest(dataclasses.replace(WORLD, **changes))
        for changes in (
            {},
            {"liked_items": WORLD.liked_items[::-1]},
            {"split": dataclasses.replace(WORLD.split, test=WORLD.split.train)},
            {"user_ids": names},
            {"user_ids": names[::-1]},
        )
    ]
    assert len(set(digests)) == len(digests)
    assert dataset_digest(dataclasses.replace(WORLD, user_ids=names.copy())) in digests
