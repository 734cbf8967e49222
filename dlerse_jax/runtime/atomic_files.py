"""Files that a kill or a full disk can never leave half written.

At a path is either the new file or the old one, untouched. Everything in a run
directory but the log of metrics is written so. Where several processes are one run,
all but one of them write nothing.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_permission = {"write": True}


def write_nothing() -> None:
    """From now on this process leaves the run's files to another one."""
    _permission["write"] = False


def is_writer() -> bool:
    """Whether this process writes the files of its run; a process alone does."""
    return _permission["write"]


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step, its folders made; see `clear_disk_errors`."""
    if not is_writer():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with clear_disk_errors(path):
        # Not tempfile's: its files are for the owner alone, and reports get shared.
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_leftovers(directory: Path) -> None:
    """Removes what `write_atomically` of killed processes left in a run directory."""
    folders = [directory, directory / "baselines", *directory.glob("checkpoints/*")]
    for folder in folders:
        for path in folder.glob(".*.*"):
            number = path.name.rpartition(".")[2]
            if number.isdecimal() and not is_alive(int(number)):
                path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether this host has a process of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextlib.contextmanager
def clear_disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk met in the block into an OSError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"the disk is full: cannot write {path}; free some space and run the same "
            "command again, what was written before is intact",
        ) from error
