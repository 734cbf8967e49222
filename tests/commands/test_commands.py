"""The command line: one line for a mistake, exit statuses, machine-readable output."""

import json
import sys

import pytest

from dlerse_jax.commands.main import main

TINY = [
    "--config=experiments/synthetic.py:quick",
    "--config.tracking.wandb=False",
    "--config.episode.horizon=6",
    "--config.pretrain.num_updates=20",
    "--config.q_learning.num_updates=0",
]


@pytest.fixture(autouse=True)
def in_project_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tarin"], ["no command 'tarin'", "train"]),
        (["train", "--config=experiments/synthetic.py"], ["--workdir is missing"]),
        (["train", "--workdir=x"], ["--config is missing"]),
        (["train", "--config=experiments/nosuch.py", "--workdir=x"], ["nosuch.py"]),
        (["train", *TINY, "--workdr=x"], ["workdr", "workdir"]),
        (
            ["train", *TINY, "--config.reward.alhpa=1", "--workdir=x"],
            ["alhpa", "alpha"],
        ),
        (["train", *TINY, "--config.network.hops=two", "--workdir=x"], ["hops", "two"]),
        (["data", "fetch", "lastfn"], ["lastfn", "lastfm"]),
        (["data"], ["usage: dlerse data stats"]),
        (["report"], ["usage: dlerse report"]),
        (["report", "no/such/run"], ["no/such/run"]),
    ],
)
def test_a_mistake_costs_one_line_and_exit_status_2(arguments, words, capsys):
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("dlerse: ") and message.count("\n") == 1
    assert all(word in message for word in words)


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="--workdir is missing"):
        main(["train", "--config=experiments/synthetic.py", "--debug"])


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    usage = capsys.readouterr().out
    assert all(name in usage for name in ("train", "sweep", "report", "data"))


def test_parsing_leaves_the_arguments_of_the_process_alone():
    before = list(sys.argv)
    main(["data", "stats", "--config=experiments/nosuch.py"])
    assert sys.argv == before


def test_data_stats_speaks_json(capsys):
    assert main(["data", "stats", "--config=experiments/synthetic.py", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["users"] == 600 and numbers["items"] == 400


def test_lastfm_has_the_papers_numbers(shared_data, capsys):
    path = f"--config.data.path={shared_data}/lastfm"
    assert (
        main(["data", "stats", "--config=experiments/lastfm.py", path, "--json"]) == 0
    )
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["users"] == 1874
    assert numbers["items"] == 2828
    assert numbers["interactions"] == 71411
    assert numbers["friend_pairs"] == 25174
    assert round(numbers["items_per_user"], 3) == 38.106
    assert round(numbers["friends_per_user"], 3) == 13.433


def test_train_then_report(tmp_path, capsys):
    workdir = tmp_path / "run"
    config = ["--config=tests/tiny.py", "--config.q_learning.num_updates=0"]
    assert main(["train", *config, f"--workdir={workdir}", "--quiet"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("random", "friends", "dlerse_con", "±"))
    assert main(["report", str(workdir)]) == 0
    assert (workdir / "report" / "report.html").stat().st_size > 10_000
