"""How fast a server answers: latencies and throughput, beside an empty FastAPI route.

    python benchmarks/server.py runs/lastfm --seconds=10

Starts `dlerse serve` on the run and, before it, an application with one empty route;
then clients of this process ask one after the other (closed loop), 8 and 64 at once.
With --soak=SECONDS it asks at a steady --rate instead, see `soak.py`.
Prints one JSON line per measurement. CPU time is the server's own, so that requests per
CPU-second mean the same on a machine that others use, too; latencies do not.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import uvloop
from soak import LISTS, Soak, soak

CLIENTS = (8, 64)
ANSWERS = 20  # of a session, then the next one begins
FRIENDS = 8
TICKS = os.sysconf("SC_CLK_TCK")


class Connection:
    """HTTP/1.1 as far as it is needed here; a library would take the time measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, content: object) -> dict:
        body = json.dumps(content).encode()
        self._writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
            f"\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = json.loads(await self._reader.readexactly(length))
        status = int(head.split(b" ", 2)[1])
        if status >= 400:
            raise RuntimeError(f"{path}: {status} {answer}")
        return answer


class Load:
    """What clients ask. times: seconds of each request that counts."""

    def __init__(self, people: list) -> None:
        self.people, self.times = people, []

    async def timed(self, connection: Connection, path: str, content: object) -> dict:
        began = time.perf_counter()
        answer = await connection.post(path, content)
        self.times.append(time.perf_counter() - began)
        return answer

    def somebody(self) -> dict:
        return {"friends": random.sample(self.people, FRIENDS)}

    async def recommend(self, connection: Connection, until: float) -> None:
        while time.perf_counter() < until:
            await self.timed(connection, "/recommend", {**self.somebody(), "k": 10})

    async def answer(self, connection: Connection, until: float) -> None:
        while time.perf_counter() < until:
            talk = await connection.post("/sessions", self.somebody())
            path = f"/sessions/{talk['session_id']}/answers"
            for _ in range(ANSWERS):
                said = {
                    "recommendation_id": talk["next"]["recommendation_id"],
                    "liked": random.random() < 0.3,
                }
                talk = await self.timed(connection, path, said)

    def next_of_mixture(self):
        """Requests of a soak: lists, and sessions of ANSWERS each, by connection."""
        talks: dict[Connection, dict] = {}

        async def ask(connection: Connection, count: int) -> None:
            talk = talks.get(connection)
            if random.random() < LISTS:
                await connection.post("/recommend", {**self.somebody(), "k": 10})
            elif talk is None or len(talk["answers"]) >= ANSWERS:
                found = await connection.post("/sessions", self.somebody())
                talks[connection] = found
            else:
                path = f"/sessions/{talk['session_id']}/answers"
                shown = talk["next"]["recommendation_id"]
                said = {"recommendation_id": shown, "liked": count % 3 == 0}
                talks[connection] = await connection.post(path, said)

        return ask

    async def empty(self, connection: Connection, until: float) -> None:
        while time.perf_counter() < until:
            await self.timed(connection, "/empty", {**self.somebody(), "k": 10})


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def measure(port: int, pid: int, people: list, kind: str, clients: int, seconds: float):
    """One JSON line."""
    load = Load(people)

    async def run() -> float:
        connections = [await Connection.open(port) for _ in range(clients)]
        loop = getattr(load, kind)
        warm = time.perf_counter() + min(2.0, seconds / 4)
        await asyncio.gather(*(loop(each, warm) for each in connections))
        load.times.clear()
        began = cpu_seconds(pid)
        until = time.perf_counter() + seconds
        await asyncio.gather(*(loop(each, until) for each in connections))
        return cpu_seconds(pid) - began

    cpu = uvloop.run(run())
    times = sorted(load.times)
    return {
        "request": kind,
        "clients": clients,
        "p50_ms": round(1000 * times[len(times) // 2], 2),
        "p99_ms": round(1000 * times[int(0.99 * len(times))], 2),
        "per_second": round(len(times) / seconds),
        "per_cpu_second": round(len(times) / cpu),
        "memory_mib": round(memory_mib(pid)),
        "load_average": round(os.getloadavg()[0], 1),
    }


def measure_soak(
    port: int, pid: int, people: list, seconds: float, rate: float, path: Path
) -> None:
    """An hour or so at a steady rate; the file at `path` has what was found."""
    load, began = Load(people), cpu_seconds(pid)
    about = {"rate": rate, "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}

    async def run() -> None:
        await soak(
            Soak(path, about),
            [await Connection.open(port) for _ in range(CLIENTS[0])],
            rate=rate,
            seconds=seconds,
            next_request=load.next_of_mixture(),
            measure=lambda: (memory_mib(pid), cpu_seconds(pid) - began),
        )

    uvloop.run(run())


@contextlib.contextmanager
def started(words: list[str], port: int, path: str) -> Iterator[tuple[int, float]]:
    """A server's process id and the seconds until it answered."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words])
    try:
        while not answers(port, path):
            if process.poll() is not None:
                sys.exit(f"{words} ended with {process.returncode}")
            time.sleep(0.05)
        yield process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def answers(port: int, path: str) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as some,
    ):
        some.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return b" 200 " in some.recv(100)
    return False


def empty_server(port: int) -> None:
    """One route that reads its body and says nothing."""
    import uvicorn
    from fastapi import FastAPI

    from dlerse_jax.server.models import Health, RecommendRequest

    app = FastAPI()

    @app.get("/ready")
    async def ready() -> Health:
        return Health(status="ready")

    @app.post("/empty")
    async def empty(question: RecommendRequest) -> Health:
        return Health(status="empty")

    uvicorn.run(app, port=port, http="httptools", loop="uvloop", access_log=False)


def say(line: dict) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("run", nargs="?", help="folder of a finished run")
    words.add_argument("--seconds", type=float, default=10.0)
    words.add_argument("--port", type=int, default=8123)
    words.add_argument("--empty-server", action="store_true")
    words.add_argument("--soak", type=float, default=0.0, help="seconds; 0: none")
    words.add_argument("--rate", type=float, default=200.0, help="requests a second")
    words.add_argument("--output", type=Path, default=Path("soak.json"))
    words.add_argument("--serve-flags", default="", help="of the server, as --cache=16")
    asked = words.parse_args()
    if asked.empty_server:
        empty_server(asked.port)
        return
    with np.load(Path(asked.run) / "dataset.npz") as dataset:
        people = dataset["user_ids"].tolist()
    port = asked.port
    if not asked.soak:
        measure_empty(port, people, asked.seconds)
    with tempfile.TemporaryDirectory() as state:
        serve = ["-c", "from dlerse_command import main; main()", "serve", asked.run]
        serve += [f"--port={port}", f"--state={state}", "--rate=0"]
        serve += asked.serve_flags.split()
        with started(serve, port, "/ready") as (pid, seconds):
            say({"ready_seconds": round(seconds, 1)})
            if asked.soak:
                measure_soak(port, pid, people, asked.soak, asked.rate, asked.output)
                return
            for kind in ("recommend", "answer"):
                for clients in CLIENTS:
                    say(measure(port, pid, people, kind, clients, asked.seconds))


def measure_empty(port: int, people: list, seconds: float) -> None:
    with started(
        [__file__, "--empty-server", f"--port={port}"], port, "/ready"
    ) as found:
        for clients in CLIENTS:
            say(measure(port, found[0], people, "empty", clients, seconds))


if __name__ == "__main__":
    main()
