"""Everything about a server that its operator chooses, with its default."""

import dataclasses
from pathlib import Path

from dlerse_jax.server.exploration import Exploration

DAY = 86_400.0  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """See `dlerse serve --help` for what is set from the command line."""

    store: str = "sqlite::memory:"
    events: Path  # folder of the log
    exploration: Exploration = Exploration()
    candidates: int = 20  # items that exploration chooses among, at least k
    origins: tuple[str, ...] = ()  # that browsers may ask from, beside our own pages
    hosts: tuple[str, ...] = ()  # names a request may come to; (): any
    demo: bool = False  # the page may search for users
    rate: float = 100.0  # requests a second for each key; 0: no limit
    burst: float = 200.0
    most_bytes: int = 1 << 20  # of a request
    body_seconds: float = 10.0  # for a request to arrive
    answer_seconds: float = 10.0  # for an answer to be found
    session_seconds: float = 30 * DAY  # after the last answer
    most_answers: int = 500  # of a session, beside what was told beforehand
    most_sessions: int = 1_000_000
    cached_bytes: int = 256 << 20  # of sessions' states in memory
    purge_seconds: float = 60.0
    watch_seconds: float = 0.0  # how often to look for a new model; 0: never
    wait_for_disk: bool = False  # SQLite: a commit is safe against a power cut
    event_days: float = 90.0
    event_bytes: int = 64 << 20  # of a file of the log
    seed: int | None = None  # of exploration; None: from the operating system
