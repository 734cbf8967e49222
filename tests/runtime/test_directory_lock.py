"""One process per run directory: others are refused, and dead ones leave no trace."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dlerse_jax.runtime import atomic_files, directory_lock
from dlerse_jax.runtime.directory_lock import LOCK_NAME, locked

PACKAGE = Path(atomic_files.__file__).parents[1]
ME = directory_lock._myself()


def write_lock(folder, **owner):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK_NAME).write_text(json.dumps(ME | owner))


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lock_names_its_owner_and_goes_with_the_block(tmp_path):
    with locked([tmp_path]):
        owner = json.loads((tmp_path / LOCK_NAME).read_text())
        assert (owner["host"], owner["pid"]) == (platform.node(), os.getpid())
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_directory_in_use_is_refused_in_one_line(tmp_path):
    with locked([tmp_path]):
        before = (tmp_path / LOCK_NAME).read_bytes()
        with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on"):
            locked([tmp_path]).__enter__()
        assert (tmp_path / LOCK_NAME).read_bytes() == before


def test_of_several_directories_all_are_held_or_none(tmp_path):
    write_lock(tmp_path / "b")
    with (
        pytest.raises(ValueError, match="b is in use"),
        locked([tmp_path / "a", tmp_path / "b"]),
    ):
        pass
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "owner", [{"pid": None}, {"started": "another boot 17"}], ids=["dead", "reused"]
)
def test_a_stale_lock_is_taken_over(tmp_path, owner):
    write_lock(tmp_path, **{k: v or ended_process() for k, v in owner.items()})
    with locked([tmp_path]):
        assert (
            json.loads((tmp_path / LOCK_NAME).read_text())["started"] == ME["started"]
        )


@pytest.mark.parametrize(
    "content", ["", "{", "null", "5", '{"host": "x"}', "[" * 10**5]
)
def test_a_lock_that_names_nobody_is_taken_over(tmp_path, content):
    (tmp_path / LOCK_NAME).write_text(content)
    with locked([tmp_path]):
        pass


def test_of_another_host_the_message_says_how_to_remove_it(tmp_path):
    write_lock(tmp_path, host="elsewhere", pid=ended_process())
    with pytest.raises(ValueError, match="on elsewhere.*remove .*/.lock and run"):
        locked([tmp_path]).__enter__()
    assert (tmp_path / LOCK_NAME).exists()


def test_what_is_made_for_a_run_that_is_refused_goes_again(tmp_path):
    with pytest.raises(KeyError), locked([tmp_path / "runs" / "one"]):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with locked([tmp_path / "two"]):
        (tmp_path / "two" / "config.json").touch()
    assert os.listdir(tmp_path / "two") == ["config.json"]


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "run").touch()
    for folder in ("run", "run/below"):
        with pytest.raises(ValueError, match="a file is in the way"):
            locked([tmp_path / folder]).__enter__()


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    dead, mine = ended_process(), os.getpid()
    (tmp_path / "baselines").mkdir()
    for name in (f".a.json.{dead}", f"baselines/.b.npz.{dead}", f".c.{mine}", ".d.txt"):
        (tmp_path / name).touch()
    with locked([tmp_path]):
        found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    assert found == {".lock", "baselines", f".c.{mine}", ".d.txt"}


def test_a_process_that_writes_nothing_shares_the_lock_of_the_one_that_does(
    tmp_path, monkeypatch
):
    with locked([tmp_path]):
        monkeypatch.setitem(atomic_files._permission, "write", False)
        with locked([tmp_path]):
            pass
        monkeypatch.undo()
        assert (tmp_path / LOCK_NAME).exists()


RACE = """
import sys, time, types
from pathlib import Path
package = types.ModuleType("dlerse_jax")  # which would import JAX
package.__path__ = [sys.argv[2]]
sys.modules["dlerse_jax"] = package
from dlerse_jax.runtime.directory_lock import locked
folder = Path(sys.argv[1])
print("ready", flush=True)
while not (folder / "go").exists():
    time.sleep(0.001)
try:
    with locked([folder]):
        print("held", flush=True)
        sys.stdin.read()
except ValueError:
    print("refused", flush=True)
"""


def test_of_processes_started_together_one_goes_on(tmp_path):
    """Before a stale lock as well: two that find it must not both take it."""
    write_lock(tmp_path, pid=ended_process())
    command = [sys.executable, "-c", RACE, str(tmp_path), str(PACKAGE)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, **pipes, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    told = sorted(process.stdout.readline() for process in processes)
    for process in processes:
        process.communicate()
    assert told == ["held\n", "refused\n", "refused\n", "refused\n"]
