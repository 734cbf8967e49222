"""Several processes on one port: each has the model, all share store and log.

The kernel gives each new connection to one of them (SO_REUSEPORT). The first process
only starts them, starts one again that ends by itself, and ends them all when it is
told to.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time

NUMBER = "DLERSE_WORKER"  # of the process: set by the first process alone
MOST_BACKLOG = 2048
BAD_INPUT = 2  # exit status of a command
PAUSE = 1.0  # seconds before one that ended is started again
LOG = logging.getLogger(__name__)


def number() -> int | None:
    """Which of the workers this process is, from 0 on; None for the only process."""
    text = os.environ.get(NUMBER, "")
    return int(text) if text else None


def check_store(store: str, workers: int) -> None:
    """ValueError where processes would not see each other's sessions."""
    if workers > 1 and store == "sqlite::memory:":
        raise ValueError(
            f"--workers={workers} cannot share a store in memory: name a file, "
            "--store=sqlite:FILE, or redis:// or postgresql://"
        )


def check_port(host: str, port: int, workers: int) -> None:
    """ValueError where nobody can listen there: the server does when it has loaded."""
    try:
        _bound_socket(host, port, is_shared=workers > 1).close()
    except OSError as error:
        raise ValueError(
            f"--host={host} --port={port}: {error.strerror}; name another, or end what "
            "listens there"
        ) from error


def _bound_socket(host: str, port: int, *, is_shared: bool) -> socket.socket:
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        found.bind((host.strip("[]"), port))
    except OSError:
        found.close()
        raise
    return found


def shared_socket(host: str, port: int) -> socket.socket:
    """A socket that other processes may listen at, too. OSError where others do not
    let them."""
    found = _bound_socket(host, port, is_shared=True)
    found.listen(MOST_BACKLOG)
    found.setblocking(False)
    return found


def supervise(count: int, words: list[str]) -> None:
    """Runs `dlerse` with these words in some processes until it is told to stop.

    One that ends for bad input said why, and would do so again: all end then.
    """
    running = {}
    is_open, status = True, 0

    def stop(*_: object) -> None:
        nonlocal is_open
        is_open = False
        for process in running.values():
            process.terminate()

    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, stop)
    for place in range(count):
        running[place] = _worker(place, words)
    while is_open:
        time.sleep(PAUSE)
        for place, process in running.items():
            if not is_open or process.poll() is None:
                continue
            LOG.error("worker %d ended with %s", place, process.returncode)
            if process.returncode == BAD_INPUT:
                is_open, status = False, BAD_INPUT
            else:
                running[place] = _worker(place, words)
    for process in running.values():
        process.terminate()  # one that was being started when the signal came
        process.wait()
    if status:
        raise SystemExit(status)


def _worker(place: int, words: list[str]) -> subprocess.Popen:
    command = "from dlerse_command import main; raise SystemExit(main())"
    environment = {**os.environ, NUMBER: str(place)}
    return subprocess.Popen([sys.executable, "-c", command, *words], env=environment)
