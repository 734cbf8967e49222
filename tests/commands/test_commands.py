"""The command line: one line for a mistake, exit statuses, machine-readable output."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

from dlerse_jax.commands.chat import Conversation
from dlerse_jax.commands.main import main
from dlerse_jax.serving.explain import Explanation, Reason
from dlerse_jax.serving.leave_one_out import Groups
from dlerse_jax.serving.recommender import Recommender

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


@pytest.fixture
def typed(monkeypatch):
    def type_lines(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return type_lines


class Shelf:
    """A recommender and its session: the first item that is left, and some reasons."""

    names = SimpleNamespace(title=str, item=int)

    def __init__(self):
        self.answers, self.named = [], []

    def session(self, **person):
        return self

    person = session

    def recommend_many(self, questions, *, k):
        return [[] for _ in questions]

    def with_reasons(self, items, person, *, name_friends):
        self.named.append(name_friends)
        return items

    def next(self, *, skip=()):
        gone = {*skip, *(item for item, _ in self.answers)}
        item = next(number for number in range(9) if number not in gone)
        return SimpleNamespace(item=item, title=f"item {item}", chance=None)

    def answer(self, item, *, liked):
        self.answers.append((item, liked))

    def undo(self):
        self.answers.pop()

    def explain(self, item, *, name_friends):
        self.named.append(name_friends)

        def reason(name, contribution, instead="item 8"):
            return Reason(
                kind="answer",
                id=name,
                name=name,
                likes=True,
                contribution=contribution,
                instead=instead,
            )

        reasons = (
            reason("much", 0.5),
            reason("spared", 0.4, instead=f"item {item}"),
            reason("against", -0.1),
        )
        return Explanation(
            item=item,
            title=f"item {item}",
            margin=0.0,
            rank=1,
            groups=Groups(popularity=0.0, friends=0.0, answers=1.0),
            friends=(),
            answers=reasons,
            paths=(),
            num_friends=0,
            num_shortlisted=0,
        )


def shown_in(talk):
    return [line for line in talk.splitlines() if line.startswith("item ")]


def test_friends_are_named_where_the_command_line_says_so_alone(typed, monkeypatch):
    shelf = Shelf()
    monkeypatch.setattr(Recommender, "load", lambda *_, **__: shelf)
    typed("")
    for words in ([], ["--name-friends"]):
        assert main(["recommend", "a run", "--user=4", "--explain", *words]) == 0
        assert main(["chat", "a run", "--user=4", *words]) == 0
    assert shelf.named == [False, False, True, True]


def test_undo_brings_one_skipped_item_back_and_an_answer_all_of_them(typed, capsys):
    typed("skip\nskip\nundo\ny\nquit\n")
    shelf = Shelf()
    Conversation(shelf, shelf).run()
    assert shown_in(capsys.readouterr().out) == [f"item {n}" for n in (0, 1, 2, 1, 0)]
    assert shelf.answers == [(1, True)]


def test_why_says_what_else_would_be_shown_without_what_speaks_for_it(typed, capsys):
    typed("why\nquit\n")
    Conversation(Shelf(), Shelf()).run()
    said = [x.strip() for x in capsys.readouterr().out.splitlines() if "Without" in x]
    assert said == ["Without your answer to much you would have seen item 8."]
