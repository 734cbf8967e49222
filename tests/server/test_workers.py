"""Processes that share a port: started, started again, and ended together."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from dlerse_jax.server import workers
from dlerse_jax.server.run import of_worker
from dlerse_jax.server.settings import Settings


def test_processes_listen_at_one_port():
    first = workers.shared_socket("127.0.0.1", 0)
    second = workers.shared_socket("127.0.0.1", first.getsockname()[1])
    with first, second:
        for _ in range(4):  # whichever of them the kernel chooses
            socket.create_connection(first.getsockname(), timeout=5).close()


def test_a_worker_that_ends_is_started_again_and_all_end_when_told(monkeypatch):
    """The processes sleep here; the first is killed once."""
    started = []

    def sleeper(place, words):
        assert words == ["serve", "run"]
        process = subprocess.Popen(["sleep", "60"])
        started.append((place, process))
        return process

    def disturb():
        while len(started) < 2:
            time.sleep(0.01)
        started[0][1].kill()
        while len(started) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(workers, "_worker", sleeper)
    monkeypatch.setattr(workers, "PAUSE", 0.05)
    former = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    threading.Thread(target=disturb).start()
    try:
        workers.supervise(2, ["serve", "run"])
    finally:
        for kind, handler in former.items():
            signal.signal(kind, handler)
    assert [place for place, _ in started] == [0, 1, 0]
    assert all(process.poll() is not None for _, process in started)


def test_where_bad_input_ends_a_worker_all_end_with_its_status(monkeypatch):
    started = []

    def worker(place, words):
        command = ["sleep", "60"] if place else ["sh", "-c", "exit 2"]
        started.append(subprocess.Popen(command))
        return started[-1]

    monkeypatch.setattr(workers, "_worker", worker)
    monkeypatch.setattr(workers, "PAUSE", 0.05)
    former = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(SystemExit, match="2"):
            workers.supervise(2, [])
    finally:
        for kind, handler in former.items():
            signal.signal(kind, handler)
    assert len(started) == 2 and started[1].poll() == -signal.SIGTERM


@pytest.mark.parametrize("count", [1, 2])
def test_a_port_that_is_taken_is_refused(count):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port={port}: Address already in use"):
            workers.check_port("127.0.0.1", port, count)
    workers.check_port("127.0.0.1", port, count)
    with pytest.raises(ValueError, match="--host=no.such.host.invalid"):
        workers.check_port("no.such.host.invalid", port, count)


def test_workers_of_one_server_may_share_a_port():
    with workers.shared_socket("127.0.0.1", 0) as first:
        workers.check_port("127.0.0.1", first.getsockname()[1], 2)


def test_a_store_in_memory_cannot_be_shared():
    workers.check_store("sqlite::memory:", 1)
    workers.check_store("sqlite:file", 2)
    with pytest.raises(ValueError, match="cannot share a store in memory"):
        workers.check_store("sqlite::memory:", 2)


def test_workers_draw_other_lists_and_look_for_a_new_model(tmp_path):
    settings = Settings(events=tmp_path, seed=5)
    assert [of_worker(settings, place).seed for place in range(3)] == [5, 6, 7]
    assert of_worker(settings, 0).watch_seconds > 0
    assert of_worker(Settings(events=tmp_path), 1).seed is None
