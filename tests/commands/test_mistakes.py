"""What a command line or a config file gets wrong costs one line, and exit status 2."""

import os
import signal
import subprocess
import sys

import jax
import pytest

from dlerse_jax.commands import main as command
from dlerse_jax.commands.main import main
from dlerse_jax.commands.usage import HELP
from dlerse_jax.runtime import backend

QUICK = "--config=experiments/synthetic.py:quick"


@pytest.fixture(autouse=True)
def in_project_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.fixture
def stopped(monkeypatch):
    """Nothing is trained; what would have been is in the list."""
    reached = []
    monkeypatch.setattr(
        command.train, "train", lambda config, *_, **__: reached.append(config)
    )
    return reached


def told(capsys, *arguments):
    """The one line that a refused command writes."""
    assert main(list(arguments)) == 2
    message = capsys.readouterr().err
    assert message.startswith("dlerse: ") and message.count("\n") == 1
    assert "Traceback" not in message
    return message


TRAIN = ("train", QUICK, "--workdir=x")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["reward.alpha=0.5"], ["no word", "--config.reward.alpha=0.5"]),
        (["experiments/lastfm.py"], ["no word", "--help"]),
        (["--dry-run"], ["--dry-run is a flag of sweep, not of train"]),
        (["--trials=3"], ["--trials is a flag of search, not of train"]),
        (["--json"], ["--json is a flag of ", "data, not of train"]),
        (["--workdri=y"], ["did you mean --workdir"]),
        (["--config.leran.gamma=0.5"], ["leran.gamma"]),
        (["--config.q_laerning.gamma=1"], ["q_learning.gamma"]),
        (["--config.netwrok.width=8"], ["network.width"]),
        (["--config.reward.alhpa=1"], ["reward.alpha"]),
        (["--config.learn.gamma=0.5"], ["q_learning.gamma now"]),
        (["--config.learn.hide_least=0.1"], ["q_learning.mask_least now"]),
        (["--config.fit.num_updates=2"], ["pretrain.num_updates now"]),
        (["--config.learn.trace=0.5"], ["learn.trace is gone since 0.2.0"]),
        (["--config.network=5"], ["a section", "--config.network."]),
        (["--config.network.hops=two"], ["network.hops", "two", "a whole number"]),
        (["--config.reward.alpha=x"], ["reward.alpha", "a number"]),
        (["--config.tracking.wandb=maybe"], ["tracking.wandb", "True or False"]),
        (["--config.reward.alpha=nan"], ["reward.alpha must be 0 or more, got nan"]),
        (["--config.network.hidden=0"], ["network.hidden must be 1 or more"]),
        (["--config.q_learning.block=-1"], ["q_learning.block must be 0 or more"]),
        (["--config.data.synthetic.num_users=1000000000000"], ["at most 10,000,000"]),
        (["--config.network.hops=" + "x" * 5000], ["hops", "letters"]),
        (["--config.evaluation.baselines[0]=random"], ["give all of evaluation.bas"]),
        (["--config.data.min_rating=None"], ["min_rating", "leave it out"]),
        (["--config.rank.learning_rate=1e-40"], ["learning_rate", "0 in the prog"]),
        (["--config.data.min_rating=4", "--quiet=maybe"], ["--quiet=maybe"]),
        (["--undefok=lerning", "--lerning=1"], ["--undefok is not taken"]),
        (["--flagfile=mine.txt"], ["--flagfile is not taken"]),
    ],
)
def test_a_mistake_names_what_was_meant(stopped, capsys, extra, words):
    message = told(capsys, *TRAIN, *extra)
    assert all(word in message for word in words), message
    assert not stopped and len(message) < 900
    assert "x" * 201 not in message


def test_a_sweeps_points_are_checked_before_the_first_trains(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    sweep = tmp_path / "bad.py"
    sweep.write_text(
        "import numpy as np\n"
        "BASE = QUICK_BASE = 'experiments/synthetic.py:quick'\n"
        "def sweep(add, option=''):\n"
        "    add({'reward.alpha': np.float32(0.5), 'episode.horizon': np.int64(4)})\n"
        "    add({'reward.alpha': -1.0})\n"
    )
    message = told(capsys, "sweep", f"--sweep={sweep}", f"--workdir={tmp_path}/runs")
    assert "reward.alpha must be 0 or more" in message
    # Of the same size and second: bytecode of the file before would be taken for it.
    before = sweep.stat()
    sweep.write_text(sweep.read_text().replace("-1.0", "0.25"))
    os.utime(sweep, ns=(before.st_atime_ns, before.st_mtime_ns))
    listed = ["sweep", f"--sweep={sweep}", "--list"]
    assert main(listed) == 0 and "reward.alpha=0.5" in capsys.readouterr().out


FILES = {
    "syntax": ("def get_config(:\n", ["line 1", "SyntaxError"]),
    "import": ("import numpi\n", ["line 1", "ModuleNotFoundError", "numpi"]),
    "raises": ("\n\n1 / 0\n", ["line 3", "ZeroDivisionError"]),
    "inside": ("def get_config():\n    return 1 / 0\n", ["line 2", "ZeroDivision"]),
    "exits": ("raise SystemExit(0)\n", ["line 1", "SystemExit"]),
    "no function": ("config = {}\n", ["no function get_config"]),
    "dict": ("def get_config():\n    return {}\n", ["returns {}", "base_config()"]),
    "none": ("def get_config():\n    pass\n", ["returns None"]),
    "lacks keys": (
        "from ml_collections import ConfigDict\n"
        "def get_config():\n    return ConfigDict({'seed': 1})\n",
        ["without "],
    ),
    "misspelt": (
        "from dlerse_jax.defaults import base_config\n"
        "def get_config():\n    c = base_config()\n    c.sede = 3\n    return c\n",
        ["line 4", "sede"],
    ),
    "no option": ("def get_config():\n    pass\n", ["TypeError"]),
    "not UTF-8": (b"\xff\xfe\x00", ["Error"]),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_config_file_is_told_by_its_line(tmp_path, capsys, kind):
    content, words = FILES[kind]
    path = tmp_path / "mine.py"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    option = ":fast" if kind == "no option" else ""
    message = told(capsys, "train", f"--config={path}{option}", "--workdir=x")
    assert all(word in message for word in ["mine.py", *words]), message


@pytest.mark.parametrize("kind", ["syntax", "import", "raises"])
def test_so_is_a_sweep_file(tmp_path, capsys, kind):
    path = tmp_path / "mine.py"
    path.write_text(FILES[kind][0])
    message = told(capsys, "sweep", f"--sweep={path}", "--workdir=x")
    assert all(word in message for word in ["mine.py", *FILES[kind][1]])


def test_an_option_that_a_file_does_not_have_is_one_line(capsys):
    message = told(
        capsys, "train", "--config=experiments/synthetic.py:fast", "--workdir=x"
    )
    assert "option 'fast'" in message and len(message) < 200


def test_a_file_of_the_home_directory_is_found(tmp_path, monkeypatch, stopped):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(
        "from dlerse_jax.defaults import base_config as get_config\n"
    )
    assert main(["train", "--config=~/mine.py", "--workdir=~/run"]) == 0
    assert stopped


def test_each_command_explains_its_flags_with_an_example(capsys):
    for name in command.COMMANDS:
        assert main([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: dlerse {name}")
        assert f"example: dlerse {name}" in text and "--debug" in text
    assert set(HELP) == set(command.COMMANDS)


def test_each_flag_that_a_command_has_is_explained():
    from dlerse_jax.commands.parsing import FLAGS, WITHOUT_FILE, _names

    for name in FLAGS:
        hidden = {"config"} if name in WITHOUT_FILE else set()
        hidden |= {"help", "helpshort", "helpfull", "helpxml", "flagfile", "undefok"}
        for flag in set(_names(name)) - hidden:
            assert f"--{flag}" in HELP[name], (name, flag)


def test_an_unexpected_error_is_one_line_and_debug_shows_it(monkeypatch, capsys):
    def broken(*_, **__):
        raise KeyError("lost")

    monkeypatch.setattr(command.train, "train", broken)
    message = told(capsys, *TRAIN)
    assert "unexpected KeyError in test_mistakes.py" in message and "--debug" in message
    with pytest.raises(KeyError):
        main([*TRAIN, "--debug"])


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: x")]
)
def test_full_memory_says_what_to_lower(monkeypatch, capsys, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(command.train, "train", full)
    assert "memory is full" in told(capsys, *TRAIN)


def test_64_bits_are_refused_before_anything_is_built(capsys):
    with jax.enable_x64(True):
        assert "JAX_ENABLE_X64 is on" in told(capsys, *TRAIN)


def test_a_missing_plugin_is_one_line(monkeypatch, capsys):
    def missing():
        raise RuntimeError("Unable to initialize backend 'cuda':\nno plugin")

    monkeypatch.setattr(backend.jax, "devices", missing)
    message = told(capsys, *TRAIN)
    assert "JAX finds no device" in message and "JAX_PLATFORMS=cpu" in message


def test_without_a_home_nothing_is_kept(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(command.os.path, "expanduser", lambda path: path)
        command._set_up_jax()
        assert jax.config.jax_compilation_cache_dir is None
        monkeypatch.setenv("XDG_CACHE_HOME", "/a/cache")
        command._set_up_jax()
        assert jax.config.jax_compilation_cache_dir == "/a/cache/dlerse_jax/xla"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_ctrl_c_anywhere_is_130_and_no_traceback(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.train, "train", interrupted)
    assert main(list(TRAIN)) == 130
    message = capsys.readouterr().err
    assert message.startswith("dlerse: interrupted; ") and message.count("\n") == 1


EARLY = """
import os, signal, sys, dlerse_command
class Interrupt:
    def find_spec(self, name, *_):
        if name == "dlerse_jax":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.exit(dlerse_command.main())
"""


def test_ctrl_c_while_it_is_imported_is_130(request):
    process = subprocess.run(
        [sys.executable, "-c", EARLY],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stderr) == (130, "")


def test_a_terminal_without_utf_8_gets_its_table(request):
    code = "import sys, dlerse_command; sys.exit(dlerse_command.main())"
    process = subprocess.run(
        [sys.executable, "-c", code, "data", "stats", QUICK],
        cwd=request.config.rootpath,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert process.returncode == 0, process.stderr
    assert b"users" in process.stdout and b"\x1b" not in process.stdout


LATE = """
import os, signal, sys, threading, time
from dlerse_jax.commands import main as command
sys.argv = ["dlerse", "data", "stats", "--config=experiments/synthetic.py:quick"]
command.main()
threading.Thread(target=time.sleep, args=(20,)).start()
print("done", flush=True)
"""


def test_ctrl_c_while_threads_end_is_130_as_well(request):
    process = subprocess.Popen(
        [sys.executable, "-c", LATE],
        cwd=request.config.rootpath,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.stdout.readline() != "done\n":
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 130 and "Traceback" not in errors


def test_a_home_that_nobody_has_is_one_line(capsys):
    path = ["--config.data.format=table", "--config.data.path=~nobody-here/x"]
    assert "Write the path in full" in told(
        capsys, "data", "stats", QUICK, "--config.data.name=mine", *path
    )


@pytest.mark.parametrize(("status", "ended"), [(command.INTERRUPTED, True), (0, False)])
def test_an_interrupted_command_waits_for_no_thread(monkeypatch, status, ended):
    """Its threads may be compiling what nobody will need."""
    statuses = []
    monkeypatch.setattr(sys, "argv", ["dlerse", "train"])
    monkeypatch.setattr(command, "_status", lambda _: status)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command.os, "_exit", statuses.append)
    assert main() == status
    assert statuses == [status] * ended
