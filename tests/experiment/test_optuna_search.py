"""Promises of a search: trials are runs, pruned on validation, none lost to a kill."""

import sys

import pytest

from dlerse_jax.commands.main import main
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.directory import read_config
from dlerse_jax.runs.log import RunLog, read_metrics
from dlerse_jax.runtime.directory_lock import locked

pytestmark = pytest.mark.usefixtures("one_program")
SEARCH_FILE = """
BASE = "tests/tiny.py"


def suggest(trial):
    return {"pretrain.learning_rate": trial.suggest_float("rate", 1e-4, 1e-2, log=True)}
"""
TINY = [
    "--config.q_learning.num_updates=0",
    "--config.evaluation.every=2",
    "--config.evaluation.baselines=()",
    "--quiet",
]


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it."""


@pytest.fixture
def search(request, monkeypatch, tmp_path):
    """`dlerse search` of so many trials -> exit status."""
    pytest.importorskip("optuna", reason="Optuna is not installed: extra `search`")
    monkeypatch.chdir(request.config.rootpath)
    (tmp_path / "rate.py").write_text(SEARCH_FILE)
    words = ["search", f"--search={tmp_path}/rate.py", f"--workdir={tmp_path}/runs"]
    return lambda trials, *more: main([*words, *TINY, f"--trials={trials}", *more])


def test_trials_are_runs_and_the_same_command_goes_on(search, tmp_path, capsys):
    assert search(1) == 0
    said = capsys.readouterr().out
    assert "trial_0000  complete  validation 0." in said
    assert "best on validation users: rate=" in said and "on test users: " in said
    assert (tmp_path / "runs/trial_0000/summary.json").exists()
    assert search(2) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 trials to run (1 done before)")
    rates = {
        line.split("rate=")[1].split(",")[0]
        for line in said.splitlines()
        if "best" in line
    }
    assert len(rates) == 1
    logs = [read_metrics(tmp_path / f"runs/trial_000{i}") for i in (0, 1)]
    assert (
        logs[0][-1]["pretrain/pretrain_loss"] != logs[1][-1]["pretrain/pretrain_loss"]
    )


def test_a_key_that_the_search_proposes_is_not_taken_from_the_command_line(
    search, tmp_path, capsys
):
    assert search(1, "--config.pretrain.learning_rate=0.1") == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "dlerse: --config.pretrain.learning_rate is given, and rate "
    )
    assert not (tmp_path / "runs/trial_0000").exists()
    assert search(1) == 0


def test_a_killed_trial_goes_on_in_its_own_directory(
    search, tmp_path, capsys, monkeypatch
):
    save = checkpoint.save

    def save_and_die(*arguments, **more):
        save(*arguments, **more)
        raise Killed

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(Killed):
        search(1)
    monkeypatch.setattr(checkpoint, "save", save)
    leftover = tmp_path / "runs/trial_0000/.summary.json.4194305"  # above any pid
    leftover.write_text("half")
    logged, log = [], RunLog.log

    def note(self, step, metrics):
        logged.append(step)
        log(self, step, metrics)

    monkeypatch.setattr(RunLog, "log", note)
    assert search(1) == 0
    assert "trial_0000  complete" in capsys.readouterr().out
    assert logged == [4]  # update 2 was saved
    assert [p.name for p in (tmp_path / "runs").glob("trial_*")] == ["trial_0000"]
    assert not leftover.exists()
    assert search(2) == 0
    assert "trial_0001  complete" in capsys.readouterr().out
    rates = []
    for folder in ("runs", "undisturbed"):
        if folder == "undisturbed":
            assert search(2, f"--workdir={tmp_path / folder}") == 0
        config = read_config(tmp_path / folder / "trial_0001")
        rates.append(config["pretrain"]["learning_rate"])
    assert rates[0] == rates[1]


def test_a_second_search_in_the_same_folder_is_refused(search, tmp_path, capsys):
    with locked([tmp_path / "runs"]):
        assert search(1) == 2
    assert "is in use by process" in capsys.readouterr().err


def test_a_trial_is_pruned_by_its_validation_precision(
    search, tmp_path, capsys, monkeypatch
):
    import optuna

    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: True)
    assert search(1) == 0
    said = capsys.readouterr().out
    assert "trial_0000  pruned  validation 0." in said and "best" not in said
    assert [line["step"] for line in read_metrics(tmp_path / "runs/trial_0000")] == [2]
    assert search(1) == 0
    assert capsys.readouterr().out.startswith("0 trials to run (1 done before)")


def test_a_trial_that_diverges_counts_and_stops_no_other(search, capsys, tmp_path):
    file = tmp_path / "rate.py"
    file.write_text(SEARCH_FILE.replace("1e-4, 1e-2, log=True", "1e29, 1e30"))
    assert search(1) == 0
    assert "trial_0000  fail  pretrain/" in capsys.readouterr().out
    assert search(1) == 0
    assert capsys.readouterr().out.startswith("0 trials to run (1 done before)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--search is missing, for example searches/learning.py"),
        (["--search=searches/learning.py:quick"], "--workdir is missing"),
        (["--search=nosuch.py", "--workdir=x"], "nosuch.py: no such suggest file"),
        (["--search=sweeps/alpha.py", "--workdir=x"], "sweeps/alpha.py has no suggest"),
    ],
)
def test_a_mistake_costs_one_line(request, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(request.config.rootpath)
    assert main(["search", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["suggest = 3"], "suggest a function, as in searches/learning.py"),
        (["def suggest():", "    return {}"], "suggest takes 0 arguments, expected"),
        (["def suggest(trial):", "    pass"], "suggest returns None, expected a dict"),
        (["def suggest(trial):", "    return {}[1]"], "odd.py, line 3: KeyError: 1"),
        (
            ["def suggest(trial):", "    trial.suggest_float('a', 1.0, 0.0)"],
            "odd.py: `low <= high` must hold",
        ),
    ],
)
def test_a_file_that_proposes_nothing_is_named(
    search, tmp_path, capsys, lines, message
):
    base = 'BASE = "tests/tiny.py"'
    (tmp_path / "odd.py").write_text("\n".join([base, *lines]) + "\n")
    assert search(1, f"--search={tmp_path}/odd.py") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/odd.py" in error and message in error
    assert error.count("\n") == 1 and "unexpected" not in error


def test_a_search_in_the_folder_of_a_run_is_refused(search, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "config.json").write_text("{}")
    assert search(1) == 2
    assert "runs is a run itself" in capsys.readouterr().err


def test_without_optuna_one_line_says_how_to_get_it(
    request, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setitem(sys.modules, "optuna", None)
    words = ["--search=searches/learning.py:quick", f"--workdir={tmp_path}/runs"]
    assert main(["search", *words]) == 2
    assert "pip install 'dlerse_jax[search]'" in capsys.readouterr().err


def test_every_search_file_suggests_keys_that_exist(request, monkeypatch):
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
    from dlerse_jax.defaults import base_config
    from dlerse_jax.experiment.search import read_search
    from dlerse_jax.experiment.sweep import changed_config

    files = sorted((request.config.rootpath / "searches").glob("*.py"))
    assert files
    for file in files:
        config = base_config()
        if file.stem == "baseline":
            config.agent.name = "linear_plus"
        trial = optuna.create_study().ask()
        changed_config(config, read_search(str(file)).suggest(trial, config))
