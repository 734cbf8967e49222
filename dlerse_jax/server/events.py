"""The log of what was shown and answered: JSON lines that learning and judging need.

One line per list shown (with the propensity, position and score of every item, digests
of the candidates and of the model) and one per answer. Users are in it as pseudonyms,
friends not at all. Nobody is answered before their lines are with the operating system.
The file is rotated by size; processes that share a folder take turns by a lock.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.server.batching import Batcher, LoopBatcher
from dlerse_jax.server.jsons import json_bytes

CURRENT = "events.jsonl"
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
            _mend(self.folder / CURRENT)
        self._soon: LoopBatcher[bytes, bool] = LoopBatcher(self._write_soon, most=512)
        self._thread: Batcher[Any, Any] = Batcher(self._work, name="events", most=512)

    async def append(self, events: Sequence[Event]) -> None:
        """Returns when the lines are written."""
        lines = b"".join(map(line, events))
        if not await self._soon.ask(lines):
            await self._thread.ask(lines)

    async def forget(self, *, subject: str = "", session: str = "") -> int:
        """Rewrites the files without a person or a session -> lines that are gone."""
        return await self._thread.ask(
            lambda: forget(self.folder, subject=subject, session=session)
        )

    def close(self) -> None:
        self._thread.close()

    def _write_soon(self, jobs: list[bytes]) -> list[bool]:
        """Whether they are written: not while the files are being rewritten."""
        try:
            with _locked(self.folder, wait=False):
                self._write(b"".join(jobs))
        except BlockingIOError:
            return [False] * len(jobs)
        return [True] * len(jobs)

    def _work(self, jobs: list[bytes | Callable[[], int]]) -> list[Any]:
        with _locked(self.folder):
            if lines := b"".join(job for job in jobs if isinstance(job, bytes)):
                self._write(lines)
            return [None if isinstance(job, bytes) else job() for job in jobs]

    def _write(self, lines: bytes) -> None:
        path = self.folder / CURRENT
        with path.open("ab") as file:
            file.write(lines)
            size = file.tell()
        if size > self._most_bytes:
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            path.rename(
                self.folder / f"events-{stamp}-{time.time_ns() % 10**9:09}.jsonl"
            )
            self._drop_old()

    def _drop_old(self) -> None:
        oldest = time.time() - self._keep_days * DAY
        for path in files(self.folder):
            if path.name != CURRENT and path.stat().st_mtime < oldest:
                path.unlink()


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

    FileNotFoundError where the folder has no log, ValueError for another broken line.
    """
    paths = files(Path(folder))
    if not paths:
        raise FileNotFoundError(f"{folder}: no {CURRENT} in it; name the log's folder")
    for path in paths:
        for number, text in enumerate(
            path.read_text(encoding="ascii").splitlines(True)
        ):
            if not text.endswith("\n"):
                break
            try:
                yield json.loads(text)
            except ValueError:
                raise ValueError(
                    f"{path}, line {number + 1}: not JSON; remove the line"
                ) from None


def forget(folder: Path, *, subject: str = "", session: str = "") -> int:
    """Rewrites each file that names the subject or the session; the lock is held.

    Answers to their lists go too, which name nobody.
    """
    names = [name.encode() for name in (subject, session) if name]
    lists: set[str] = set()
    for path in files(folder):
        content = path.read_bytes()
        if any(name in content for name in names):
            theirs = _theirs(content, subject, session)
            lists |= {event["recommendation_id"] for event in theirs}
    return sum(_without(path, lists) for path in files(folder)) if lists else 0


def _theirs(content: bytes, subject: str, session: str) -> Iterator[dict[str, Any]]:
    for text in content.splitlines():
        event = json.loads(text)
        is_subject = bool(subject) and event.get("subject") == subject
        if is_subject or (bool(session) and event.get("session") == session):
            yield event


def _without(path: Path, lists: set[str]) -> int:
    """Rewrites a file without the lines about some lists -> lines that are gone."""
    texts = path.read_bytes().splitlines(keepends=True)
    kept = [
        text for text in texts if json.loads(text)["recommendation_id"] not in lists
    ]
    if len(kept) < len(texts):
        times = path.stat()
        write_atomically(path, b"".join(kept))
        os.utime(path, (times.st_atime, times.st_mtime))
    return len(texts) - len(kept)


def _mend(path: Path) -> None:
    """Cuts off a last line that a kill left unfinished: nobody was told of it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """BlockingIOError where another has the lock and it is not to wait."""
    lock = os.open(folder / "events.lock", os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(lock)
