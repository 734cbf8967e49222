"""Promises of a search without learning: validation users alone, and no run."""

import dataclasses
import importlib.util
import shutil

import numpy as np
import pytest
from tiny import tiny_config
from worlds import flip_feedback

from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.commands.main import main
from dlerse_jax.experiment import policy_search
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.experiment.policy_search import PolicyEvaluation, read_tuned
from dlerse_jax.experiment.sweep import changed_config

OTHER = {"rank": 3, "regularisation": 40.0, "exploration": 2.0, "prior_weight": 30.0}
OTHER |= {"ridge_weight": 3.0, "answer_weight": 20.0}


def _config(name, **numbers):
    config = tiny_config()
    config.agent.name = name
    own = config.baseline[name]
    own.update({"rank": 8} if "rank" in own else {})
    own.update({key: value for key, value in numbers.items() if key in own})
    return config


@pytest.mark.parametrize("name", ["friends", "mf_friends", "linucb", "lints", "linear"])
def test_an_evaluator_serves_other_numbers_as_one_of_their_own_would(name):
    shared, other = PolicyEvaluation(_config(name)), _config(name, **OTHER)
    first = shared.precision(_config(name))
    again = shared.precision(other)
    assert again == PolicyEvaluation(other).precision(other)
    assert name == "lints" or again != first


def test_validation_users_decide_and_test_users_are_not_asked(monkeypatch):
    world = build_dataset(_config("linear"))
    found = {}
    for part in ("validation", "test"):
        users = getattr(world.split, part)
        flipped = dataclasses.replace(flip_feedback(world, users), split=world.split)
        monkeypatch.setattr(policy_search, "build_dataset", lambda _, w=flipped: w)
        found[part] = PolicyEvaluation(_config("linear")).precision(_config("linear"))
    monkeypatch.undo()
    own = PolicyEvaluation(_config("linear")).precision(_config("linear"))
    assert found["test"] == own != found["validation"]


def test_an_agent_that_learns_is_refused():
    config = tiny_config()
    with pytest.raises(ValueError, match="'dlerse_con', expected one without learning"):
        PolicyEvaluation(config)


def test_a_fold_of_too_few_users_chooses_nothing():
    config = _config("linear")
    config.data.synthetic.num_users = 90
    with pytest.raises(ValueError, match="9 are left for validation"):
        PolicyEvaluation(config)


def _spaces(root):
    file = root / "searches" / "baseline.py"
    spec = importlib.util.spec_from_file_location("baseline", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SPACES


def test_every_policy_with_numbers_has_a_search(request):
    have_numbers = {name for name in CLASSICAL if name in tiny_config().baseline}
    assert set(_spaces(request.config.rootpath)) == have_numbers


@pytest.fixture
def search(request, monkeypatch, tmp_path):
    pytest.importorskip("optuna", reason="Optuna is not installed: extra `search`")
    monkeypatch.chdir(request.config.rootpath)
    words = ["search", "--search=searches/baseline.py:quick", "--quiet"]
    words += ["--config.agent.name=linear", "--config.episode.horizon=6"]
    words += ["--config.data.synthetic.num_users=120", f"--workdir={tmp_path}/runs"]
    return lambda trials, *more: main([*words, f"--trials={trials}", *more])


def test_the_best_numbers_are_left_and_no_run(search, tmp_path, capsys):
    assert search(3) == 0
    said = capsys.readouterr().out
    found = read_tuned(tmp_path / "runs")
    assert (found["agent"], found["dataset"], found["split"]) == (
        "linear",
        "synthetic",
        0,
    )
    assert found["metric"] == "precision_at_6" and found["trials"] == 3
    assert found["num_users"] == 12 and found["best"] >= found["before"]
    config = tiny_config()
    config.agent.name = "linear"
    settings = found["settings"]
    weight = settings["baseline.linear.prior_weight"]
    assert changed_config(config, settings).baseline.linear.prior_weight == weight
    assert f"--config.baseline.linear.prior_weight={weight}" in said
    assert not list((tmp_path / "runs").glob("**/summary.json"))
    assert search(4, "--config.tune=True") == 2
    assert "leave --config.tune out" in capsys.readouterr().err
    own = said.splitlines()[1]
    assert own == f"trial 0  validation {found['before']:.4f}"
    assert search(4) == 0
    assert capsys.readouterr().out.startswith("1 trials to run (3 done before)")
    assert read_tuned(tmp_path / "runs")["before"] == found["before"]


@pytest.fixture
def unplayed(monkeypatch):
    """Trials without their episodes, which take most of a search's time."""

    def precision(self, config):
        self.metric = "precision_at_6"
        return 0.5 + config.baseline.linear.prior_weight / 100

    monkeypatch.setattr(PolicyEvaluation, "precision", precision)


@pytest.mark.usefixtures("unplayed")
def test_what_trials_left_is_written_again_and_no_other_search_takes_its_place(
    search, tmp_path, capsys
):
    """A kill may come between a trial and the file of the best one."""
    assert search(2) == 0
    path = tmp_path / "runs" / "tuned.json"
    found = path.read_text()
    path.unlink()
    capsys.readouterr()
    assert search(1) == 0
    assert capsys.readouterr().out.startswith("0 trials to run (2 done before)")
    assert path.read_text() == found
    shutil.copy("searches/baseline.py", tmp_path / "other.py")
    assert search(3, f"--search={tmp_path}/other.py:quick") == 2
    said = "has the trials of the search 'baseline-quick', not of 'other-quick'"
    assert said in capsys.readouterr().err
    assert path.read_text() == found


@pytest.mark.usefixtures("unplayed")
def test_a_search_is_kept_in_a_folder_of_any_name(search, tmp_path, capsys):
    folder = tmp_path / "what? {0} ö%20#"
    assert search(1, f"--workdir={folder}") == 0
    assert {path.name for path in folder.iterdir()} == {"search.sqlite3", "tuned.json"}
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}
    (folder / "search.sqlite3").write_bytes(b"no storage" * 500)
    assert search(2, f"--workdir={folder}") == 2
    assert "search.sqlite3: file is not a database; " in capsys.readouterr().err


def test_trials_start_from_one_config_and_one_content_of_the_data(
    search, capsys, monkeypatch
):
    assert search(1) == 0
    assert search(2, "--config.user.satiation=1") == 2
    assert "user.satiation is 0 there and 1 in this run" in capsys.readouterr().err
    monkeypatch.setattr(policy_search, "dataset_digest", lambda _: "changed")
    assert search(2) == 2
    assert "the data are not those of this run" in capsys.readouterr().err


def test_the_first_trial_is_the_configs_own_numbers(search, tmp_path):
    assert search(1) == 0
    settings = read_tuned(tmp_path / "runs")["settings"]
    own = tiny_config().baseline.linear
    assert settings and all(
        np.isclose(value, own[key.rpartition(".")[2]])
        for key, value in settings.items()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.agent.name=dlerse_con"], "has no numbers of 'dlerse_con' to"),
        (
            ["--config.baseline.linear.prior_weight=2.0"],
            "--config.baseline.linear.prior_weight is given",
        ),
    ],
)
def test_a_mistake_costs_one_line(search, capsys, arguments, message):
    assert search(1, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
