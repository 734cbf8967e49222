"""Whatever is typed or found on disk: an exit status and one line, never a traceback.

Training itself is replaced by a stop. A few hundred inputs by default; thousands with
`make fuzz`, which chooses the hypothesis profile by HYPOTHESIS_PROFILE.
"""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from run_folders import make_run

from dlerse_jax.commands import main as command
from dlerse_jax.commands.main import main
from dlerse_jax.config_ranges import range_of
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment import runner
from dlerse_jax.former_keys import RENAMED_KEYS
from dlerse_jax.runs import directory, records
from dlerse_jax.runs.directory import flat_items

pytestmark = pytest.mark.filterwarnings("ignore")
KEYS = dict(flat_items(base_config().to_dict()))
QUICK = "--config=experiments/synthetic.py:quick"
quick = settings(suppress_health_check=list(HealthCheck), deadline=None)


@pytest.fixture(autouse=True)
def in_project_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.fixture
def stopped(monkeypatch):
    """Configs that reached a run, each checked as a run checks it; nothing is built."""
    reached = []
    # absl writes the defaults of every flag into its help: half of the time here.
    monkeypatch.setattr(ConfigDict, "__str__", lambda config: "the config")

    def train(config, workdir, *, quiet):
        runner.check_run(config)
        reached.append(config)

    monkeypatch.setattr(command.train, "train", train)
    return reached


def outcome(capsys, arguments):
    """Exit status and what was said: one line that starts with the program's name."""
    status = main(arguments)
    said = capsys.readouterr().err
    assert status in (0, 2), (status, arguments)
    if status:
        assert said.startswith("dlerse: ") and said.count("\n") == 1, said
        assert "unexpected" not in said and len(said) < 1500, said
    return status, said


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(-(10**14), 10**14).map(str),
    st.sampled_from(["nan", "inf", "-inf", "-1", "0", "1e999", "0x10", "1_000", " 1"]),
)
words = st.one_of(
    numbers, st.text(max_size=30), st.sampled_from(["", "(", "None", "[]"])
)


@quick
@given(key=st.sampled_from(sorted(KEYS)), value=words)
def test_any_value_of_any_key_is_taken_or_refused_in_a_line(
    stopped, capsys, key, value
):
    del stopped[:]
    status, said = outcome(
        capsys, ["train", QUICK, "--workdir=x", f"--config.{key}={value}"]
    )
    if status == 0:
        [config] = stopped
        taken = dict(flat_items(config.to_dict()))[key]
        assert KEYS[key] is None or type(taken) is type(KEYS[key])
        assert (
            range_of(key) is None or isinstance(taken, bool) or taken in range_of(key)
        )
    else:
        assert not stopped and key.rpartition(".")[2] in said


@quick
@given(key=st.sampled_from(sorted({*KEYS, *RENAMED_KEYS})), data=st.data())
def test_a_misspelt_key_is_never_a_traceback(stopped, capsys, key, data):
    place = data.draw(st.integers(0, len(key)))
    letter = data.draw(st.text("abcxyz._-=5 ", max_size=2))
    wrong = key[:place] + letter + key[place + data.draw(st.integers(0, 2)) :]
    outcome(capsys, ["train", QUICK, "--workdir=x", f"--config.{wrong}=1"])


pieces = st.sampled_from(
    [
        QUICK, "--workdir=x", "--quiet", "--json", "--dry-run", "--list", "--shard=0/3",
        "--point=x", "--trials=-1", "--trials=two", "--config", "--config=", "-x", "--",
        "--sweep=sweeps/alpha.py:quick", "--sweep=nosuch.py", "--search=x.py:slow",
        "stats", "fetch", "reward.alpha=0.5", "--reward.alpha=0.5", "--config.reward=1",
        "--config.fit.num_updates=2", "--noconfig.tracking.wandb", "--nojson", "--work",
        "--config=experiments", "--config=README.md", "--workdir", "--undefok=x", "é",
    ]
)  # fmt: skip


@quick
@given(
    name=st.sampled_from(["train", "sweep", "search", "evaluate", "report", "bench"])
    | st.sampled_from(["data", "Train", ""]),
    rest=st.lists(pieces | st.text(max_size=12), max_size=5),
)
def test_any_command_line_costs_a_line_at_most(
    stopped, capsys, name, rest, monkeypatch
):
    for module, function in (
        (command.sweep, "sweep"),
        (command.search, "search"),
        (command.bench, "bench"),
        (command.data, "fetch"),
    ):
        monkeypatch.setattr(module, function, lambda *_, **__: None)
    outcome(capsys, [name, *rest])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run") / "a")
    directory.write_summary(run, directory.read_summary(run))
    about = json.loads((run / "config.json").read_text())
    (run / "config.json").unlink()
    directory.write_config(run, about["config"], data_digest="d")
    return run


damages = st.tuples(
    st.sampled_from(["flip", "cut", "replace", "insert", "delete"]), st.floats(0, 1)
)
contents = st.sampled_from(
    [b"", b"{}", b"[]", b"5", b"null", b"\xff\xfe", b"[" * 10**5]
)


def damage(path, kind, place, content):
    whole = path.read_bytes()
    at = int(place * max(len(whole) - 1, 0))
    if kind == "delete":
        path.unlink()
        return
    path.write_bytes(
        {
            "flip": whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :],
            "cut": whole[:at],
            "replace": content,
            "insert": whole[:at] + content + whole[at:],
        }[kind]
    )


@quick
@given(
    name=st.sampled_from(
        ["config.json", "metrics.jsonl", "summary.json", "evaluation.npz"]
    ),
    how=damages,
    content=contents,
)
def test_a_damaged_run_is_read_as_it_was_or_refused(
    finished, tmp_path_factory, name, how, content
):
    folder = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(finished, folder)
    damage(folder / name, *how, content)
    try:
        found = records.read_run(folder)
    except (ValueError, FileNotFoundError) as refusal:
        assert name in str(refusal) and "\n" not in str(refusal)
    else:
        whole = records.read_run(finished)
        assert (
            name != "config.json"
            or found.settings["config"] == (whole.settings["config"])
        )
    shutil.rmtree(folder)
