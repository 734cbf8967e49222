"""Kills a server under load: no acknowledged answer may be lost.

python tests/server/server_kills.py 20      twenty kills, and what was found
"""

import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from fake_server import fake_server

from dlerse_jax.server.events import read_events
from dlerse_jax.serving.client import Client, ServerError

CLIENTS = 6


def talk(address, told, stop):
    """Answers item after item; told: (session, recommendation) acknowledged."""
    try:
        with Client(address, timeout=5) as client:
            while not stop.is_set():
                session = client.session(friends=[random.randrange(20)])
                while session.next and len(session.answers) < 12:
                    shown = session.next["recommendation_id"]
                    session.answer(liked=random.random() < 0.5)
                    told.append((session.session_id, shown))
    except (OSError, ServerError):
        return  # the server was killed


def kill_once(folder, seconds):
    """Loads a server, kills it -> what it had acknowledged."""
    told, stop = [], threading.Event()
    with fake_server(folder) as (process, address):
        clients = [
            threading.Thread(target=talk, args=(address, told, stop))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        while len(told) < 20:
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        process.wait()
        stop.set()
        for client in clients:
            client.join()
    return told


def lost(folder, told):
    """Of what was acknowledged, what the store and the log do not have."""
    in_log = {
        event["recommendation_id"]
        for event in read_events(folder / "events")
        if event["event"] == "answered"
    }
    missing = [(session, made) for session, made in told if made not in in_log]
    with fake_server(folder) as (_, address), Client(address) as client:
        kept = {}
        for session, made in told:
            if session not in kept:
                answers = client.resume(session).answers
                kept[session] = [answer["recommendation_id"] for answer in answers]
            if kept[session].count(made) != 1:
                missing.append((session, made))
    return missing


def kills(folder, count):
    """(answers acknowledged, those that were lost) over some kills."""
    told = []
    for _ in range(count):
        told += kill_once(folder, random.uniform(0.0, 0.5))
    return len(told), lost(folder, told)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        number, missing = kills(Path(made), int(sys.argv[1]))
        sys.stdout.write(f"{number} answers acknowledged, {len(missing)} lost\n")
        sys.exit(bool(missing))
