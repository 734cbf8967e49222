"""The log of what was shown and answered: JSON lines that learning and judging need.

One line per list shown (with the propensity, position and score of every item, digests
of the candidates and of the model) and one per answer. Users are in it as pseudonyms,
friends not at all. Nobody is answered before their lines are with the operating system;
where they cannot be, as on a full disk, nothing of them is, and the answer is 503. The
file is rotated by size and each day; processes that share a folder take turns by lock.
"""

import contextlib
import errno
import fcntl
import io
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.server.batching import Batcher, LoopBatcher
from dlerse_jax.server.errors import ApiError, busy
from dlerse_jax.server.event_forms import problem_of
from dlerse_jax.server.jsons import json_bytes

LOG = logging.getLogger(__name__)
CURRENT = "events.jsonl"
# Of every line, and nowhere else in one: a text's quotes have a \ before them.
BEGIN = b'{"event":'
DAY = 86_400.0
Event = Mapping[str, Any]


class EventLog:
    """Appends events to a folder, rotates its file, and forgets people."""

    def __init__(
        self, folder: str | Path, *, most_bytes: int = 64 << 20, keep_days: float = 90
    ) -> None:
        """keep_days: rotated files that are older are deleted."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._most_bytes, self._keep_days = most_bytes, keep_days
        with _locked(self.folder):
            _clean(self.folder)
        self._soon: LoopBatcher[bytes, bool] = LoopBatcher(self._write_soon, most=512)
        self._thread: Batcher[Any, Any] = Batcher(self._work, name="events", most=512)

    async def append(self, events: Sequence[Event]) -> None:
        """Returns when the lines are written. 503 where they cannot be: none is."""
        lines = b"".join(map(line, events))
        if not await self._soon.ask(lines):
            await self._thread.ask(lines)

    async def forget(self, *, subject: str = "", session: str = "") -> int:
        """Rewrites the files without a person or a session -> lines that are gone."""
        return await self._thread.ask(
            lambda: forget(self.folder, subject=subject, session=session)
        )

    async def expire(self) -> None:
        """Begins a new file each day, and deletes the files that are too old."""
        with contextlib.suppress(ApiError):  # the server's log has said why
            await self._thread.ask(self._expire)

    def close(self) -> None:
        self._thread.close()

    def _write_soon(self, jobs: list[bytes]) -> list[bool | BaseException]:
        """Whether they are written: not while the files are being rewritten."""
        try:
            with _locked(self.folder, wait=False):
                self._write(b"".join(jobs))
        except BlockingIOError:
            return [False] * len(jobs)
        except OSError as error:
            return self._refusals(error, len(jobs))
        return [True] * len(jobs)

    def _work(self, jobs: list[bytes | Callable[[], int]]) -> list[Any]:
        """Lines first. No job fails the others, whose lines would be written again."""
        try:
            with _locked(self.folder):
                if lines := b"".join(job for job in jobs if isinstance(job, bytes)):
                    self._write(lines)
                return [
                    None if isinstance(job, bytes) else self._done(job) for job in jobs
                ]
        except OSError as error:
            return self._refusals(error, len(jobs))

    def _done(self, job: Callable[[], int]) -> int | BaseException:
        try:
            return job()
        except OSError as error:
            return self._refusals(error, 1)[0]
        except Exception as error:
            return error

    def _refusals(self, error: OSError, count: int) -> list[Any]:
        """503 for each caller; the server's log says what is wrong, and where."""
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        LOG.error(
            "the log of events in %s cannot be written (%s); %s",
            self.folder,
            error.strerror or error,
            "free some space there" if is_full else "until it can be, answers are 503",
        )
        return [busy("the log of events cannot be written now") for _ in range(count)]

    def _write(self, lines: bytes) -> None:
        """Appends all of it or nothing: half a line would spoil the one after it."""
        with (self.folder / CURRENT).open("a+b", buffering=0) as file:
            begin = _mend(file)
            left = memoryview(lines)
            try:
                while left:
                    left = left[os.write(file.fileno(), left) :]
            except BaseException:
                file.truncate(begin)
                raise
        if begin + len(lines) > self._most_bytes:
            try:
                self._rotate()
                self._drop_old()
            except OSError as error:  # the lines are written
                LOG.error("%s: the log was not rotated: %s", self.folder, error)

    def _rotate(self) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"events-{stamp}-{time.time_ns() % 10**9:09}.jsonl"
        (self.folder / CURRENT).rename(self.folder / name)

    def _expire(self) -> int:
        longest = min(1.0, self._keep_days) * DAY  # that a file is written to
        if _first_time(self.folder / CURRENT) < time.time() - longest:
            self._rotate()
        return self._drop_old()

    def _drop_old(self) -> int:
        oldest = time.time() - self._keep_days * DAY
        paths = [path for path in files(self.folder) if path.name != CURRENT]
        old = [path for path in paths if path.stat().st_mtime < oldest]
        for path in old:
            path.unlink()
        return len(old)


def line(event: Event) -> bytes:
    """One line of ASCII: what is in the event cannot end it or colour a terminal."""
    return json_bytes(event) + b"\n"


def files(folder: Path) -> list[Path]:
    """Files of the log, oldest first."""
    rotated = sorted(folder.glob("events-*.jsonl"))
    current = folder / CURRENT
    return [*rotated, current] if current.exists() else rotated


def read_events(folder: str | Path) -> Iterator[dict[str, Any]]:
    """All events, oldest first. A last line that is being written is left out.

    What cannot be read is skipped and said. FileNotFoundError where there is no log.
    """
    paths = files(Path(folder))
    if not paths:
        raise FileNotFoundError(f"{folder}: no {CURRENT} in it; name the log's folder")
    for path in paths:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    break
                event, begin = parsed(text)
                if event is None:
                    LOG.warning("%s, line %d: skipped, it is no event", path, number)
                    continue
                if problem := problem_of(event):
                    LOG.warning("%s, line %d: skipped, %s", path, number, problem)
                    continue
                if begin:
                    LOG.warning(
                        "%s, line %d: half a line, which a full disk left, is skipped; "
                        "the event behind it is read: keep the line",
                        path,
                        number,
                    )
                yield event


def parsed(text: bytes) -> tuple[dict[str, Any] | None, int]:
    """The event of a line, and where in it that begins; None where there is none.

    Before it may be half a line, which an earlier version left on a full disk.
    """
    begin = 0
    while begin >= 0:
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(text[begin:])
            if _is_event(event):
                return event, begin
        begin = text.find(BEGIN, begin + 1)
    return None, 0


def _is_event(found: Any) -> bool:
    is_named = isinstance(found, dict) and "event" in found
    return is_named and isinstance(found.get("recommendation_id"), str)


def forget(folder: Path, *, subject: str = "", session: str = "") -> int:
    """Rewrites each file that names the subject or the session; the lock is held.

    Answers to their lists go too, which name nobody.
    """
    _clean(folder)
    names = [name.encode() for name in (subject, session) if name]
    lists: set[str] = set()
    is_named = False
    for path in files(folder):
        content = path.read_bytes()
        if any(name in content for name in names):
            is_named = True
            theirs = _theirs(content, subject, session)
            lists |= {event["recommendation_id"] for event in theirs}
    if not is_named:
        return 0
    names += [json_bytes(one) for one in lists]
    return sum(_without(path, lists, names) for path in files(folder))


def _theirs(content: bytes, subject: str, session: str) -> Iterator[dict[str, Any]]:
    for text in content.splitlines():
        event, _ = parsed(text)
        if event is None:
            continue
        is_subject = bool(subject) and event.get("subject") == subject
        if is_subject or (bool(session) and event.get("session") == session):
            yield event


def _without(path: Path, lists: set[str], names: list[bytes]) -> int:
    """Rewrites a file without the lines about some lists -> lines that are gone.

    What cannot be read stays as it is, except where a name is in it.
    """
    texts = path.read_bytes().splitlines(keepends=True)
    kept, num_unread = [], 0
    for text in texts:
        event, begin = parsed(text)
        if event is not None and event["recommendation_id"] in lists:
            continue
        unread = text if event is None else text[:begin]
        if unread and any(name in unread for name in names):
            text = text[len(unread) :]
        elif event is None:
            num_unread += 1
        if text:
            kept.append(text)
    if num_unread:
        LOG.warning("%s: %d lines are no events, and stay", path, num_unread)
    if kept != texts:
        times = path.stat()
        write_atomically(path, b"".join(kept))
        os.utime(path, (times.st_atime, times.st_mtime))
    return len(texts) - len(kept)


def _first_time(path: Path) -> float:
    """When the file's first event was, in seconds since 1970; inf where it has none."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for text in file:
            event, _ = parsed(text)
            if event is not None and isinstance(event.get("time"), int | float):
                return event["time"]
    return math.inf


def _clean(folder: Path) -> None:
    """Removes what killed processes left: none is alive, for the lock is held."""
    for path in folder.glob(".events*.jsonl.*"):
        path.unlink(missing_ok=True)
    path = folder / CURRENT
    if path.exists():
        with path.open("r+b", buffering=0) as file:
            _mend(file)


def _mend(file: io.FileIO) -> int:
    """Cuts off a last line that is not whole: nobody was told of it -> bytes left."""
    size = file.seek(0, os.SEEK_END)
    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
        file.seek(0)
        size = file.truncate(file.read().rfind(b"\n") + 1)
    return size


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """BlockingIOError where another has the lock and it is not to wait."""
    lock = os.open(folder / "events.lock", os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(lock)
