"""Servers of Redis and PostgreSQL for tests, and a session's record."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from fakes import free_port

from dlerse_jax.server.store import SessionRecord

REDIS = shutil.which("valkey-server") or shutil.which("redis-server")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def record(name="s", *, user=None, friends=(), expires=None, **changes):
    return SessionRecord(
        session_id=name,
        owner="shop",
        user=user,
        friends=friends,
        personal=True,
        created=1.0,
        expires=time.time() + 60 if expires is None else expires,
        **changes,
    )


@contextlib.contextmanager
def redis_server(folder, port=None):
    if REDIS is None:
        pytest.skip("needs Debian's package redis-server or valkey-server")
    port = port or free_port()
    words = [REDIS, "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def postgres_server(folder):
    if not POSTGRES:
        pytest.skip("needs Debian's package postgresql")
    home, port = folder / "data", free_port()
    user = nobody_else(folder)
    programs = POSTGRES[-1].parent
    run = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [programs / "initdb", "-D", home, "-U", "dlerse", "-A", "trust", "--no-sync"],
        check=True,
        **run,
    )
    process = subprocess.Popen(
        [programs / "postgres", "-D", home, "-p", str(port), "-k", folder, "-F"],
        stderr=subprocess.DEVNULL,
        **run,
    )
    try:
        wait_for(port)
        wait_until_it_answers(
            [programs / "pg_isready", "-h", "127.0.0.1", "-p", f"{port}"]
        )
        yield f"postgresql://dlerse@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # does not wait for clients
        process.wait()


def nobody_else(folder):
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    user = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, user, -1)
    for above in folder.parents[:-2]:
        above.chmod(above.stat().st_mode | 0o011)
    return user


def wait_for(port):
    for _ in range(200):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return
        time.sleep(0.05)
    pytest.fail(f"nothing listens at port {port}")


def wait_until_it_answers(is_ready):
    """PostgreSQL listens before it lets anybody in."""
    for _ in range(200):
        if subprocess.run(is_ready, stdout=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.05)
    pytest.fail(f"{is_ready[0].name} still says no")
