"""Whole runs: resume to the bit, stop on a signal, refuse what is wrong."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from tiny import tiny_config

from dlerse_jax.experiment import runner
from dlerse_jax.experiment.baselines import evaluate_baselines
from dlerse_jax.experiment.runner import Interrupted, build_run, train_and_evaluate
from dlerse_jax.experiment.training_run import Run
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.directory import read_config, read_settings, run_identity
from dlerse_jax.runs.log import RunLog, read_metrics, without_clocks
from dlerse_jax.runs.manifest import read_manifest

pytestmark = pytest.mark.usefixtures("one_program")


PLAYED = []  # one entry for each time that `finished` evaluated its test users


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed: its folder and its summary."""
    workdir, evaluate = tmp_path_factory.mktemp("whole"), Run.evaluate
    PLAYED.clear()  # pytest may make a fixture of a module twice
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Run, "evaluate", lambda run, users: PLAYED.append(1) or evaluate(run, users)
        )
        return workdir, train_and_evaluate(tiny_config(), workdir, quiet=True)


def final_leaves(workdir):
    run = build_run(tiny_config(), workdir)
    held = run.states, run.best
    return run.step, [np.asarray(leaf) for leaf in jax.tree.leaves(held)]


def without_clock(lines):
    return list(map(without_clocks, lines))


def test_a_killed_run_ends_bit_identical_to_one_that_was_not(
    finished, tmp_path, monkeypatch
):
    whole, summary = finished
    log = RunLog.log

    def log_then_die(self, step, metrics):
        log(self, step, metrics)
        if step == kill_at:
            raise Killed  # after the chunk, before its checkpoint

    for kill_at in (4, 6):  # noqa: B007 - once in each phase; read by the closure
        monkeypatch.setattr(RunLog, "log", log_then_die)
        with pytest.raises(Killed):
            train_and_evaluate(tiny_config(), tmp_path, quiet=True)
        monkeypatch.undo()
    resumed = train_and_evaluate(tiny_config(), tmp_path, quiet=True)

    step, leaves = final_leaves(tmp_path)
    whole_step, whole_leaves = final_leaves(whole)
    assert step == whole_step == 8
    assert all(np.array_equal(a, b) for a, b in zip(leaves, whole_leaves, strict=True))
    assert resumed["summary"] == summary["summary"]
    assert without_clock(read_metrics(tmp_path)) == without_clock(read_metrics(whole))


def test_a_signal_saves_and_says_how_to_go_on(tmp_path, monkeypatch):
    log = RunLog.log

    def log_and_signal(self, step, metrics):
        log(self, step, metrics)
        os.kill(os.getpid(), signal.SIGTERM)

    config = tiny_config()
    config.tracking.checkpoint_every = 8  # so that only the signal can have saved
    monkeypatch.setattr(RunLog, "log", log_and_signal)
    with pytest.raises(Interrupted, match="stopped at update 2 of 8; the same command"):
        train_and_evaluate(config, tmp_path, quiet=True)
    assert build_run(config, tmp_path).step == 2


def test_a_run_that_is_older_than_a_key_goes_on(tmp_path, monkeypatch):
    def write_without(workdir, config, **more):
        del config["network"]["fan_out"]  # as if it were new today
        return write_config(workdir, config, **more)

    def log_then_die(self, step, metrics):
        log(self, step, metrics)
        if step == 4:
            raise Killed

    log, write_config = RunLog.log, runner.write_config
    monkeypatch.setattr(runner, "write_config", write_without)
    monkeypatch.setattr(RunLog, "log", log_then_die)
    with pytest.raises(Killed):
        train_and_evaluate(tiny_config(), tmp_path, quiet=True)
    monkeypatch.undo()
    assert "fan_out" not in read_config(tmp_path)["network"]
    settings = read_settings(tmp_path)
    saved = read_manifest(tmp_path / "checkpoints" / "2")["identity"]
    assert saved == run_identity(settings["config"], settings["data_digest"])
    assert build_run(tiny_config(), tmp_path).step == 2
    config = tiny_config()
    config.network.fan_out = 3
    with pytest.raises(ValueError, match="network.fan_out is 0 there and 3 in this"):
        build_run(config, tmp_path)


def test_the_run_directory_holds_what_the_readme_says(finished):
    workdir, summary = finished
    names = {path.name for path in workdir.iterdir()}
    assert {"config.json", "metrics.jsonl", "summary.json", "checkpoints"} <= names
    written = json.loads((workdir / "summary.json").read_text())
    assert written["agent"] == summary["agent"] == "dlerse_con"
    assert set(written["baselines"]) == {"random", "popularity", "friends"}
    assert written["num_parameters"] > 0
    steps = [line["step"] for line in read_metrics(workdir)]
    assert steps == [2, 4, 6, 8]
    looks = [line for line in read_metrics(workdir) if "eval/precision_at_5" in line]
    assert [line["step"] for line in looks] == [4, 8]


def test_baselines_are_validated_as_a_run_of_their_own_is(finished, tmp_path):
    _, summary = finished
    found = summary["baselines_validation"]
    assert set(found) == set(summary["baselines"])
    config = tiny_config()
    config.agent.name, config.evaluation.baselines = "friends", ()
    alone = train_and_evaluate(config, tmp_path, quiet=True)
    assert alone["baselines_validation"] == {}
    (line,) = read_metrics(tmp_path)
    assert found["friends"] == pytest.approx(line["eval/precision_at_6"], abs=1e-6)
    assert found["friends"] != pytest.approx(
        summary["baselines"]["friends"]["metrics"]["precision_at_6"]["mean"], abs=1e-3
    )


def test_seconds_of_updates_and_of_validations_are_logged_apart(finished):
    workdir, summary = finished
    lines = read_metrics(workdir)
    for line in lines:
        validated = "eval/precision_at_5" in line
        assert line["time/update_seconds"] > 0
        assert ("time/validation_seconds" in line) == validated
    for what in ("update", "validation"):
        said = sum(line.get(f"time/{what}_seconds", 0) for line in lines)
        assert summary[f"{what}_seconds"] == pytest.approx(said, abs=0.001)
    assert (
        summary["update_seconds"] + summary["validation_seconds"]
        <= (summary["wall_seconds"])
    )


def test_baselines_beside_training_are_those_of_the_end(finished):
    """Whoever evaluates them: the thread beside training, or nobody before the end."""
    workdir, summary = finished
    run = build_run(tiny_config(), workdir)
    for job in reversed(run.ahead):
        job()
    assert all(name in run.baselines for name in run.config.evaluation.baselines)
    assert evaluate_baselines(run)["baselines"] == summary["baselines"]


def test_test_users_are_played_once(finished):
    _, summary = finished
    assert len(PLAYED) == 1 and summary["decisions_per_second"] > 0


def test_validation_and_test_users_are_apart(finished):
    workdir, _ = finished
    evaluation = checkpoint.read_evaluation(workdir / "evaluation.npz")
    split = build_run(tiny_config(), workdir).dataset.split
    assert np.array_equal(evaluation.users, split.test)
    assert not set(split.validation) & set(evaluation.users)


def test_a_number_that_is_not_finite_stops_the_run_and_keeps_the_good_one(tmp_path):
    config = tiny_config()
    config.tracking.checkpoint_every = 4
    # The first update of Q-learning moves V, the second spoils the parameters, and the
    # third shows it.
    config.q_learning.learning_rate = 1e30
    with pytest.raises(
        ValueError, match="not finite at update 8.*q_learning.learning_rate"
    ):
        train_and_evaluate(config, tmp_path, quiet=True)
    assert build_run(config, tmp_path).step == 4


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("agent.name", "dlerse", "agent.name is 'dlerse', expected one of random"),
        ("network.hops", -1, "network.hops must be 0 or more.*got -1"),
        ("network.heads", 3, "network.heads must divide network.width, got 3 and 8"),
        ("network.fusion", "sum", "network.fusion must be one of"),
        ("network.encoder", "rnn", "network.encoder must be one of"),
        ("network.factors", "nmf", "network.factors must be one of"),
        (
            "q_learning.exploration",
            "greedy",
            "q_learning.exploration must be 'uniform' or",
        ),
        (
            "pretrain.loss",
            "hinge",
            "pretrain.loss must be one of squared, cross_entropy",
        ),
        ("pretrain.loss", "cross_entropy", "pretrain.steps is 8, expected 1 to 6"),
        ("episode.horizon", 61, "episode.horizon is 61.*set it between 1 and 60"),
        ("reward.miss", -2.0, "reward.miss must be -1 or 0"),
        (
            "pretrain.num_updates",
            3,
            "pretrain.num_updates is 3, which is not a multiple of",
        ),
        ("evaluation.every", 0, "evaluation.every must be 1 or more, got 0"),
        (
            "q_learning.replay_capacity",
            4,
            "q_learning.replay_capacity is 4, below q_learning.act_",
        ),
        ("num_seeds", 0, "num_seeds must be 1 or more.*got 0"),
        ("data.name", "lastfn", "did you mean"),
        ("evaluation.baselines", ("bpr",), "names 'bpr', expected some of random"),
    ],
)
def test_bad_values_name_the_key_and_the_mend(tmp_path, key, value, message):
    config = tiny_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message):
        build_run(config, tmp_path)
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_copy_head_on_a_sample_of_friends_is_refused(tmp_path):
    config = tiny_config()
    config.agent.name, config.network.fan_out = "dlerse_plus", 4
    with pytest.raises(ValueError, match="network.fan_out must be 0, got 4"):
        build_run(config, tmp_path)


def test_a_workdir_of_another_config_is_refused(finished):
    workdir, _ = finished
    config = tiny_config()
    config.network.hops = 2
    with pytest.raises(ValueError, match="network.hops is 1 there and 2 in this run"):
        build_run(config, workdir)


def test_an_agent_that_does_not_learn_runs_the_same_way(tmp_path):
    config = tiny_config()
    config.agent.name = "popularity"
    summary = train_and_evaluate(config, tmp_path, quiet=True)
    assert summary["num_parameters"] == 0
    assert summary["summary"] == summary["baselines"]["popularity"]


def test_a_folder_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = tiny_config()
    config.agent.name, config.evaluation.baselines = "popularity", ()
    train_and_evaluate(config, "~/run", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
