"""People who answer twenty items each, and some who want a list: for locust.

    pip install locust
    locust -f benchmarks/locustfile.py --headless -u 64 -r 64 -t 60s \
        -H http://127.0.0.1:8000

`KEY` is an API key, where the server has some; `USERS` the highest user id.
"""

import os
import random

from locust import FastHttpUser, constant, task

USERS = int(os.environ.get("USERS", "2000"))
KEY = os.environ.get("KEY", "")
ANSWERS, FRIENDS = 20, 8


def somebody() -> dict:
    return {"friends": random.sample(range(1, USERS + 1), FRIENDS)}


class Visitor(FastHttpUser):
    wait_time = constant(0)

    def on_start(self) -> None:
        self.keys = {"Authorization": f"Bearer {KEY}"} if KEY else {}

    def post(self, path: str, name: str, content: dict) -> dict | None:
        """The answer; None where there is none, which locust counts as a failure."""
        with self.rest("POST", path, name=name, json=content, headers=self.keys) as got:
            return got.js if got.status_code < 400 else None

    @task(1)
    def one_list(self) -> None:
        self.post("/recommend", "list", {**somebody(), "k": 10})

    @task(1)
    def one_session(self) -> None:
        talk = self.post("/sessions", "session", somebody())
        for _ in range(ANSWERS):
            if talk is None or talk["next"] is None:
                return
            said = {
                "recommendation_id": talk["next"]["recommendation_id"],
                "liked": random.random() < 0.3,
            }
            path = f"/sessions/{talk['session_id']}/answers"
            talk = self.post(path, "answer", said)
