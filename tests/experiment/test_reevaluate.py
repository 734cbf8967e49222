"""Re-evaluation: another protocol's numbers without training, told apart."""

import json
import shutil

import pytest
from tiny import tiny_config

from dlerse_jax.commands.main import main
from dlerse_jax.experiment.runner import train_and_evaluate
from dlerse_jax.experiment.sweep import finished_runs
from dlerse_jax.reporting.comparison import compare_runs
from dlerse_jax.reporting.run_figures import learning_curves
from dlerse_jax.runs.records import find_runs

CANDIDATES = "--config.evaluation.protocol=cold_candidates"
THREE = "--config.evaluation.others_per_like=3"


def config_of(agent="bpr", protocol="cold"):
    config = tiny_config()
    config.agent.name = agent
    config.num_seeds = 2
    config.pretrain.num_updates, config.q_learning.num_updates = 4, 0
    config.evaluation.every = 2
    config.evaluation.protocol = protocol
    config.evaluation.select = "last"  # the best is another one under another protocol
    config.evaluation.baselines = ("popularity",)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a learned and a classical run, both re-evaluated with r = 3."""
    folder = tmp_path_factory.mktemp("runs")
    train_and_evaluate(config_of(), folder / "learned", quiet=True)
    train_and_evaluate(config_of("linear"), folder / "linear", quiet=True)
    assert main(["evaluate", str(folder), CANDIDATES, THREE]) == 0
    return folder


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def test_judged_again_equals_trained_under_that_protocol(trained, tmp_path):
    direct = train_and_evaluate(
        config_of(protocol="cold_candidates"), tmp_path, quiet=True
    )
    again = summary_of(trained / "learned/evaluated/cold_candidates_r3")
    assert again["summary"] == direct["summary"]
    assert again["protocol"] == "cold_candidates"
    assert again["baselines"] == {}


def test_costs_are_those_of_training(trained):
    own, again = (
        summary_of(trained / "learned" / name)
        for name in ("", "evaluated/cold_candidates_r3")
    )
    assert again["wall_seconds"] == own["wall_seconds"] > 0
    assert again["peak_memory_bytes"] == own["peak_memory_bytes"]


def test_seeds_are_judged_together_as_an_agent_of_its_own(trained):
    together = "--config.evaluation.seeds=ensemble"
    cold = "--config.evaluation.protocol=cold"
    assert main(["evaluate", str(trained / "learned"), cold, together]) == 0
    again = summary_of(trained / "learned/evaluated/cold_ensemble")
    assert again["agent"] == "bpr, 2 together"
    assert again["summary"]["num_seeds"] == 1
    compared = compare_runs(find_runs(trained / "learned"))
    names = {comparison.protocol: set(comparison.contenders) for comparison in compared}
    assert names["cold"] >= {"bpr", "bpr, 2 together"}
    shutil.rmtree(trained / "learned/evaluated/cold_ensemble")


def test_what_is_judged_is_not_judged_again(trained, capsys):
    assert main(["evaluate", str(trained), CANDIDATES, THREE]) == 0
    assert capsys.readouterr().out.startswith("0 runs to evaluate")
    assert main(["evaluate", str(trained), "--config.evaluation.protocol=cold"]) == 0
    assert capsys.readouterr().out.startswith("0 runs to evaluate")


def test_a_draw_of_users_is_a_result_of_its_own(trained, capsys):
    run, cold = trained / "linear", "--config.evaluation.protocol=cold"
    some = "--config.evaluation.most_users=5"
    assert main(["evaluate", str(run), cold, some]) == 0
    again = summary_of(run / "evaluated/cold_5_users")
    assert again["summary"]["num_users"] == 5 < summary_of(run)["summary"]["num_users"]
    capsys.readouterr()
    assert main(["evaluate", str(run), cold, some]) == 0
    assert capsys.readouterr().out.startswith("0 runs to evaluate")
    other = "--config.evaluation.baselines=('random',)"
    assert main(["evaluate", str(run), cold, some, other]) == 2
    error = capsys.readouterr().err
    assert "cold_5_users: evaluation.baselines is [] there and" in error
    assert "move that folder away" in error and "--workdir" not in error
    shutil.rmtree(run / "evaluated/cold_5_users")


def test_a_ranking_is_judged_from_a_single_run(trained, capsys):
    run = trained / "linear"
    assert main(["evaluate", str(run), "--config.evaluation.protocol=ranking"]) == 0
    assert "1/1  evaluated/ranking_of_cold  P@20 0." in capsys.readouterr().out
    assert "auc" in summary_of(run / "evaluated/ranking_of_cold")["summary"]["metrics"]


def test_the_report_sets_the_protocols_apart(trained):
    comparisons = {c.protocol: c for c in compare_runs(find_runs(trained))}
    candidates = comparisons["cold_candidates, r = 3"]
    assert set(candidates.contenders) == {"bpr", "linear"}
    assert set(comparisons["cold"].contenders) == {
        "bpr",
        "linear",
        "popularity",
    }
    precision = ["eval/precision_at_5"]
    assert learning_curves(comparisons["cold"].runs, precision)
    assert not learning_curves(candidates.runs, precision)


def test_a_sweep_counts_its_runs_once(trained):
    names = [run.name for run in finished_runs(trained)]
    assert names == ["learned", "linear"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "--config.evaluation.protocol is missing"),
        ([CANDIDATES, "--config.reward.alpha=0.1"], "reward.alpha cannot be changed"),
        ([CANDIDATES, "--config.network.hops=1"], "evaluation.* alone may differ"),
        (["--config.evaluation.protocol=warm"], "likes that are known under cold"),
        (
            [
                "--config.evaluation.protocol=ranking",
                "--config.evaluation.ranking_of=warm",
            ],
            "others are known under warm",
        ),
        ([CANDIDATES, "--config.evaluation.select=any_phase"], "chose the checkpoint"),
        (["--config.evaluation.protocol=hot"], "evaluation.protocol is 'hot'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(trained, changes, message, capsys):
    assert main(["evaluate", str(trained), *changes]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_own_result_of_a_run_is_not_taken_for_another(trained, capsys):
    words = ["evaluate", str(trained / "linear"), "--config.evaluation.protocol=cold"]
    assert main([*words, "--config.evaluation.least_users=1"]) == 0
    assert capsys.readouterr().out.startswith("0 runs to evaluate")
    assert main([*words, "--config.evaluation.baselines=('random',)"]) == 2
    assert "with evaluation.baselines=('popularity',)" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["evaluated", "evaluated/cold_candidates_r3"])
def test_an_evaluation_is_no_run(trained, folder, capsys):
    assert main(["evaluate", str(trained / "linear" / folder), CANDIDATES]) == 2
    assert f"name the run itself, as {trained}/linear\n" in capsys.readouterr().err


def test_a_run_without_its_last_checkpoint_is_refused(trained, tmp_path, capsys):
    run = shutil.copytree(trained / "learned", tmp_path / "run")
    for path in (run / "checkpoints").rglob("manifest.json"):
        path.unlink()
    nine = "--config.evaluation.others_per_like=9"
    assert main(["evaluate", str(run), CANDIDATES, nine]) == 2
    assert "newest whole checkpoint is absent" in capsys.readouterr().err


def test_a_folder_without_a_finished_run_says_so(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), CANDIDATES]) == 2
    assert "no run in" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"config": {}}')
    assert main(["evaluate", str(tmp_path), CANDIDATES]) == 2
    assert "no run there is finished" in capsys.readouterr().err
