"""Several processes as one run: same numbers, one writer, a clear end, and a resume."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from two_processes import get_config

from dlerse_jax.experiment.runner import build_run, train_and_evaluate
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.log import read_metrics, without_clocks
from dlerse_jax.runtime import multihost

pytestmark = pytest.mark.usefixtures("one_program")
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process, from start to end: its folder."""
    folder = tmp_path_factory.mktemp("alone")
    train_and_evaluate(get_config(), folder, quiet=True)
    return folder


def start_process(number, port, workdir):
    paths = [
        str(TESTS.parent),
        str(TESTS),
        str(TESTS / "runtime"),
        os.environ.get("PYTHONPATH", ""),
    ]
    arguments = [
        f"--config={Path(__file__).with_name('two_processes.py')}",
        f"--workdir={workdir}",
        f"--coordinator=127.0.0.1:{port}",
        "--num-processes=2",
        f"--process-id={number}",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "dlerse_jax.commands.main", "train", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
        stderr=(workdir.parent / f"{number}.err").open("w"),
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Process 1 of two is killed after ten updates.

    The folder; exit status, seconds from the kill to the end and stderr of process 0.
    """
    folder = tmp_path_factory.mktemp("killed") / "run"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [start_process(number, port, folder) for number in (0, 1)]
    try:
        while not (folder / "checkpoints" / "10").exists():
            assert pair[0].poll() is None, (folder.parent / "0.err").read_text()
            time.sleep(0.05)
        pair[1].send_signal(signal.SIGKILL)
        start = time.monotonic()
        status = pair[0].wait(timeout=60)
        seconds = time.monotonic() - start
        said = (folder.parent / "0.err").read_text()
        return folder, status, seconds, said
    finally:
        for process in pair:
            process.kill()


def states_after(folder, step):
    run = build_run(get_config(), folder)
    assert run.restore(folder, at=step)
    return run.states


def assert_close(ours, reference):
    for name in ("params", "target", "average", "replay"):
        pairs = zip(
            *(
                checkpoint._named_leaves(getattr(s, name)).items()
                for s in (ours, reference)
            ),
            strict=True,
        )
        for (leaf, x), (_, y) in pairs:
            np.testing.assert_allclose(x, y, atol=1e-4, err_msg=f"{name} {leaf}")


def test_ten_updates_of_two_processes_are_those_of_one(alone, killed):
    assert_close(states_after(killed[0], 10), states_after(alone, 10))
    pairs = zip(read_metrics(killed[0])[:5], read_metrics(alone), strict=False)
    for found, reference in pairs:
        for name in without_clocks(reference):
            assert found[name] == pytest.approx(reference[name], abs=1e-4), name


def test_one_process_writes(killed):
    folder = killed[0]
    steps = [line["step"] for line in read_metrics(folder)]
    assert steps[:5] == [2, 4, 6, 8, 10] and len(steps) == len(set(steps))
    names = {path.name for path in folder.iterdir()}
    assert names <= {"config.json", "dataset.npz", "metrics.jsonl", "checkpoints"}


def test_the_other_process_ends_within_a_minute_with_a_clear_line(killed):
    _, status, seconds, said = killed
    assert status == multihost.LOST and seconds < 60
    last = said.splitlines()[-1]
    assert last.startswith("dlerse: ") and "the same command" in last


def test_what_is_left_of_the_run_goes_on_with_another_number_of_processes(
    alone, killed, tmp_path
):
    shutil.copytree(killed[0], tmp_path / "run")
    resumed = train_and_evaluate(get_config(), tmp_path / "run", quiet=True)
    whole = json.loads((alone / "summary.json").read_text())
    assert_close(states_after(tmp_path / "run", 20), states_after(alone, 20))
    for name, interval in whole["summary"]["metrics"].items():
        found = resumed["summary"]["metrics"][name]["mean"]
        assert found == pytest.approx(interval["mean"], abs=1e-4), name


@pytest.mark.parametrize(
    ("variables", "is_one_of_many"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}, False),  # no srun
        ({"SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
    ],
)
def test_schedulers_are_recognised(variables, is_one_of_many, monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert multihost._is_one_of_many() == is_one_of_many


def test_a_scheduler_fills_in_what_the_flags_leave_open(monkeypatch):
    """Open MPI 5 tells ranks, and no address; a flag goes before it."""
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    assert multihost._complete("host:1", None, None) == (4, 3)
    assert multihost._complete("host:1", 2, 1) == (2, 1)


def test_half_of_what_is_needed_to_meet_is_one_clear_line():
    with pytest.raises(ValueError, match="--num-processes, and its own --process-id"):
        multihost.start(coordinator="127.0.0.1:1", num_processes=None, process_id=None)


def test_a_process_alone_meets_nobody_and_writes():
    multihost.start(coordinator="127.0.0.1:1", num_processes=1, process_id=0)
    assert not multihost.are_many() and multihost.leave(2) == 2
    assert multihost.in_any(True) and not multihost.in_any(False)
