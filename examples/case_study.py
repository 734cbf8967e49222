"""A music site's week: from files to training, to the server, to newcomers who answer.

    python examples/case_study.py data/lastfm --folder=runs/case_study

Trains DLERSE-con on LastFM with `dlerse train`, serves the run with `dlerse serve` and
lets the data's test users arrive as newcomers over seven days, through the HTTP API,
in three arms by lot. Their likes in the data decide their answers. Then, which no site
can do, the same week again with everybody in every arm. What came of it goes to
docs/case-study.json, to figures and to the tables of docs/case-study.md.
A folder that holds the run already is not trained again. Linux: it reads /proc.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from case_study_report import ARMS, surroundings, write_report

from dlerse_jax.data.loading import load_dataset
from dlerse_jax.serving.client import Client, ClientSession, Id
from dlerse_jax.types import Dataset

ROOT = Path(__file__).parents[1]
DAYS = 7
ANSWERS = 10  # of a visit
ARM_SHARES = (2, 1, 1)
NAMELESS = 0.15  # share that names no friend, though it might
MOST_NAMED = 10  # friends on arrival
COMES_BACK = 0.5  # chance of a second visit, on a later day
NAMES_LATER = 0.5  # chance that somebody who comes back names one more friend
CLIENTS = 4  # visits at once
TRAINING = (
    f"--config={ROOT / 'experiments/lastfm.py'}",
    "--config.num_seeds=1",
    "--config.pretrain.num_updates=120",
    "--config.q_learning.num_updates=0",
    "--config.evaluation.baselines=('popularity',)",
    "--config.tracking.wandb=False",
    "--quiet",
)
EXPLORATION = "epsilon:0.1"
TICKS = os.sysconf("SC_CLK_TCK")
Row = dict[str, Any]


# --- who arrives ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Somebody whom the model does not know. Ids are those of the data."""

    person: Id  # who they are in the data
    name: str  # what the server knows them by
    arm: str
    day: int  # of arrival, from 1 on
    back: int | None  # day of the second visit
    likes: frozenset[Id]
    named: tuple[Id, ...]  # friends, on arrival; told in the arm `friends` alone
    later: Id | None  # one more, on the second visit


def make_newcomers(data: Dataset, seed: int) -> list[Newcomer]:
    """The test users, under new names, in arms by lot, each of its exact share."""
    rng = np.random.default_rng(seed)
    users = data.split.test
    places = np.arange(len(users)) * sum(ARM_SHARES) // max(len(users), 1)
    arms = rng.permutation(np.repeat(ARMS, ARM_SHARES)[places])
    pairs = zip(users.tolist(), arms.tolist(), strict=True)
    return [_newcomer(data, user, arm, rng) for user, arm in pairs]


def in_every_arm(newcomers: Sequence[Newcomer]) -> list[Newcomer]:
    """Each of them once for each arm, under different names; all else is the same."""
    return [
        dataclasses.replace(one, arm=arm, name=f"{one.person} in {arm}")
        for one in newcomers
        for arm in ARMS
    ]


def _newcomer(data: Dataset, user: int, arm: str, rng: np.random.Generator) -> Newcomer:
    """What is drawn does not depend on the arm."""
    day = int(rng.integers(1, DAYS + 1))
    comes_back = rng.random() < COMES_BACK and day < DAYS
    back = int(rng.integers(day + 1, DAYS + 1)) if comes_back else None
    known = data.friend_sources[data.friend_targets == user]
    friends = rng.permutation(data.user_ids[known]).tolist()
    count = int(rng.integers(1, MOST_NAMED + 1)) * bool(rng.random() >= NAMELESS)
    rest = friends[count:]
    names_later = bool(rng.random() < NAMES_LATER and back and rest)
    first, end = data.like_offsets[user : user + 2]
    return Newcomer(
        person=data.user_ids[user].item(),
        name=f"newcomer-{data.user_ids[user]}",
        arm=arm,
        day=day,
        back=back,
        likes=frozenset(data.item_ids[data.liked_items[first:end]].tolist()),
        named=tuple(friends[:count]),
        later=rest[0] if names_later else None,
    )


# --- what they do ---------------------------------------------------------------------


class Week:
    """Plays newcomers against a server: `rows` of answers, `times` of requests.

    clients: one for each visit at once. times: [kind of request, seconds].
    """

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients
        self._sessions: dict[str, str] = {}  # name of a newcomer -> session
        self.rows: list[Row] = []
        self.times: list[tuple[str, float]] = []

    def play(self, newcomers: Sequence[Newcomer]) -> None:
        """All days, one after the other; the visits of a day, several at once."""
        for day in range(1, DAYS + 1):
            visits = [one for one in newcomers if day in (one.day, one.back)]
            parts = [visits[start :: len(self._clients)] for start in self._starts]
            with ThreadPoolExecutor(len(self._clients)) as pool:
                played = pool.map(
                    self._visits, self._clients, parts, [day] * len(parts)
                )
                self.rows += [row for rows in played for row in rows]

    @property
    def _starts(self) -> range:
        return range(len(self._clients))

    def _visits(self, client: Client, visits: list[Newcomer], day: int) -> list[Row]:
        return [row for one in visits for row in self._visit(client, one, day)]

    def _visit(self, client: Client, one: Newcomer, day: int) -> list[Row]:
        """Up to ten answers: likes are those of the data."""
        is_first = day == one.day
        talk = self._arrive(client, one) if is_first else self._return(client, one)
        names_later = not is_first and one.arm == "friends" and one.later is not None
        friends = (len(one.named) if one.arm == "friends" else 0) + names_later
        rows = []
        while talk.next is not None and len(rows) < ANSWERS:
            shown, position = talk.next, len(talk.answers) + 1
            liked = shown["item"] in one.likes
            self._timed("answer", talk.answer, liked=liked)
            rows.append(
                {
                    "person": one.person,
                    "newcomer": one.name,
                    "arm": one.arm,
                    "day": day,
                    "visit": 1 if is_first else 2,
                    "position": position,
                    "friends": friends,
                    "named_later": names_later,
                    "session": talk.session_id,
                    "recommendation_id": shown["recommendation_id"],
                    "item": shown["item"],
                    "liked": liked,
                }
            )
        return rows

    def _arrive(self, client: Client, one: Newcomer) -> ClientSession:
        if one.arm == "friends":
            self._timed("friends", client.add_user, one.name, one.named)
        personal = one.arm != "not personal"
        talk = self._timed("begin", client.session, user=one.name, personal=personal)
        self._sessions[one.name] = talk.session_id
        return talk

    def _return(self, client: Client, one: Newcomer) -> ClientSession:
        if one.arm == "friends" and one.later is not None:
            self._timed("friends", client.add_friends, one.name, [one.later])
        return self._timed("resume", client.resume, self._sessions[one.name])

    def _timed(self, kind: str, ask: Callable, *given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        answer = ask(*given, **named)
        self.times.append((kind, time.perf_counter() - began))
        return answer


# --- the site -------------------------------------------------------------------------


def dlerse(*words: object) -> list[str]:
    """The command line, by this Python whether or not `dlerse` is on the path."""
    start = [sys.executable, "-c", "from dlerse_command import main; main()"]
    return [*start, *map(str, words)]


def measured(process: subprocess.Popen, began: float) -> dict[str, float]:
    """Waits for the end of a process -> what it took; SystemExit where it failed."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, -15):
        sys.exit(f"{process.args[3:]} ended with {process.returncode}")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def train(data: Path, folder: Path) -> dict[str, Any]:
    """Trains once -> what it cost, also when the folder has the run already."""
    note = folder / "training.json"
    if not note.exists():
        words = ["train", *TRAINING, f"--config.data.path={data}"]
        began = time.perf_counter()
        process = subprocess.Popen(dlerse(*words, f"--workdir={folder / 'run'}"))
        note.write_text(json.dumps(measured(process, began)))
    summary = json.loads((folder / "run" / "summary.json").read_text())
    return {**json.loads(note.read_text()), "summary": summary["summary"]["metrics"]}


class Site:
    """A server of a run, in a process of its own, until the end of a `with`."""

    def __init__(self, run: Path, state: Path) -> None:
        with socket.socket() as some:
            some.bind(("127.0.0.1", 0))
            port = some.getsockname()[1]
        words = ["serve", run, f"--port={port}", f"--state={state}", "--rate=0"]
        words += [f"--exploration={EXPLORATION}"]
        self.address, self.state = f"http://127.0.0.1:{port}", state
        self.cost: dict[str, float] = {}  # complete after the end
        self._began = time.perf_counter()
        self._process = subprocess.Popen(dlerse(*words))

    def __enter__(self) -> "Site":
        with Client(self.address) as client:
            while not client.is_ready():
                if self._process.poll() is not None:
                    sys.exit(f"the server ended with {self._process.returncode}")
                time.sleep(0.1)
        self.cost["ready_seconds"] = round(time.perf_counter() - self._began, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.cost["peak_mib"] = measured(self._process, self._began)["peak_mib"]

    def play(self, newcomers: Sequence[Newcomer]) -> Week:
        """A week of theirs; its cost is kept."""
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(Client(self.address)) for _ in range(CLIENTS)
            ]
            week, began, before = Week(clients), time.perf_counter(), self._cpu_seconds
            week.play(newcomers)
        self.cost["week_seconds"] = round(time.perf_counter() - began, 1)
        self.cost["week_cpu_seconds"] = round(self._cpu_seconds - before, 1)
        return week

    @property
    def _cpu_seconds(self) -> float:
        text = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def measure_files(self) -> None:
        """Exports the log and keeps the sizes of all that the server has written."""
        exported = self.state / "events.parquet"
        words = ["events", "export", self.state / "events", "--format=parquet"]
        subprocess.run(dlerse(*words, f"--output={exported}"), check=True)
        database = sum(map(size_of, self.state.glob("sessions.sqlite*")))
        self.cost |= {
            "log_bytes": size_of(self.state / "events"),
            "database_bytes": database,
            "parquet_bytes": size_of(exported),
        }


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a folder."""
    return sum(one.stat().st_size for one in [path, *path.rglob("*")] if one.is_file())


def simulate(data: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Training, server and both weeks -> all that the report is made from."""
    newcomers = make_newcomers(load_dataset("lastfm", data), seed)
    training, state = train(data, folder), Path(tempfile.mkdtemp(dir=folder))
    with Site(folder / "run", state) as site:
        week = site.play(newcomers)
        site.measure_files()
    with Site(folder / "run", state) as restarted:
        again = restarted.play(in_every_arm(newcomers))
    return {
        "where": surroundings(),
        "events": str(state / "events"),
        "training": training,
        "server": site.cost,
        "ready_again_seconds": restarted.cost["ready_seconds"],
        "newcomers": [_told(one) for one in newcomers],
        "rows": week.rows,
        "times": week.times,
        "rows_in_every_arm": again.rows,
    }


def _told(one: Newcomer) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "likes": sorted(one.likes)}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("data", type=Path, help="folder with LastFM's HetRec files")
    words.add_argument(
        "--folder", type=Path, help="for run and log; else a temporary one"
    )
    words.add_argument("--seed", type=int, default=0, help="who does what on which day")
    asked = words.parse_args()
    if not (asked.data / "user_artists.dat").exists():
        sys.exit(
            f"{asked.data}: no user_artists.dat in it; `dlerse data fetch lastfm`"
            " fetches the data set and says where it is"
        )
    with contextlib.ExitStack() as stack:
        folder = asked.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        story = simulate(asked.data.resolve(), folder.resolve(), asked.seed)
        (folder / "week.json").write_text(json.dumps(story))
        write_report(story)


if __name__ == "__main__":
    main()
