"""One process per run directory: a file that says which, by host and process id.

A lock is stale, and taken over, where its process has ended: on the same host there is
no such process, or one of the same number that started at another time. Of a process
on another host nothing is known: its lock is refused, and the message says how to
remove it. Several processes of one run share the lock of the one that writes.
"""

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dlerse_jax.runtime.atomic_files import is_alive, is_writer, remove_leftovers

LOCK_NAME = ".lock"


@contextlib.contextmanager
def locked(directories: Sequence[Path]) -> Iterator[None]:
    """Holds run directories, made where they are not there yet, for the block.

    ValueError where another process holds one of them: the others are let go. One that
    was made here and is empty at the end is removed again. What a killed process left
    half written is removed first.
    """
    if not is_writer():
        yield
        return
    with contextlib.ExitStack() as held:
        for directory in sorted(set(directories)):
            held.enter_context(_locked(directory))
        yield


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(
            f"{directory}: a file is in the way of the run's folder; take another name"
        ) from error
    _acquire(directory / LOCK_NAME)
    try:
        remove_leftovers(directory)
        yield
    finally:
        _release(directory / LOCK_NAME)
        with contextlib.suppress(OSError):  # the first that is not empty ends it
            for path in made:
                path.rmdir()


def _acquire(path: Path) -> None:
    with _open_alone(path) as descriptor:
        owner = _owner(path)
        if owner and not _is_gone(owner):
            raise ValueError(_refusal(path, owner))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)


def _release(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), _open_alone(path, flags=0):
        owner = _owner(path)
        if owner and _same_process(owner, _myself()):
            path.unlink()


@contextlib.contextmanager
def _open_alone(path: Path, flags: int = os.O_CREAT) -> Iterator[int]:
    """The file, looked at and changed by one process at a time."""
    while True:
        descriptor = os.open(path, os.O_RDWR | flags, 0o644)
        try:
            with contextlib.suppress(OSError):  # a file system without such locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(path, descriptor):
                continue  # removed while we waited
            yield descriptor
            return
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _owner(path: Path) -> dict | None:
    """Who holds the lock; None for an empty or damaged file, which nobody can hold."""
    try:
        owner = json.loads(path.read_bytes())
        fields = owner["host"], owner["started"], owner["pid"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    is_process = isinstance(fields[2], int) and fields[2] > 0
    return owner if is_process else None


def _myself() -> dict:
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _is_gone(owner: dict) -> bool:
    """Whether the owner is known to have ended."""
    if owner["host"] != platform.node():
        return False
    if not is_alive(owner["pid"]):
        return True
    return owner["started"] != _start_of(owner["pid"])


def _same_process(one: dict, other: dict) -> bool:
    return all(one[key] == other[key] for key in ("host", "pid", "started"))


def _start_of(pid: int) -> str:
    """When a process of this host started, as the kernel says it; "" if it does not."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot} {fields[19]}"


def _refusal(path: Path, owner: dict) -> str:
    who = f"process {owner['pid']} on {owner['host']}, since {owner.get('since', '?')}"
    if owner["host"] == platform.node():
        return f"{path.parent} is in use by {who}: wait for it, or end it"
    return (
        f"{path.parent} is in use by {who}: wait for it; if that process has ended, "
        f"remove {path} and run the same command again"
    )
