"""A model without JAX, and an application on it, for tests of everything around it."""

import dataclasses
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dlerse_jax.server.app import make_app
from dlerse_jax.server.ranking import Named, Ranked
from dlerse_jax.server.settings import Settings

NUM_USERS, NUM_ITEMS = 20, 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakePerson:
    user: int | None = None
    friends: tuple[int, ...] = ()
    items: tuple[int, ...] = ()
    liked: tuple[bool, ...] = ()
    past: tuple[int, ...] = ()

    def with_answer(self, item, liked):
        return dataclasses.replace(
            self, items=(*self.items, item), liked=(*self.liked, liked)
        )

    @property
    def not_shown(self):
        return (*self.items, *self.past)


class FakeModel:
    """Item i has score -i, 100 more where i is a friend or was answered by i - 1 liked.

    `states` counts what was begun and what went on; state: the number of answers.
    """

    is_quick = False

    def __init__(self, digest: str = "fake") -> None:
        self.digest, self.name = digest, "fake"
        self.num_users, self.num_items = NUM_USERS, NUM_ITEMS
        self.batches: list[int] = []
        self.begun, self.heard = 0, 0
        self.hidden: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def user(self, user):
        text = str(user).strip()
        known = text.isascii() and text.isdigit() and int(text) < NUM_USERS
        return int(text) if known and int(text) not in self.hidden else None

    def item(self, item):
        text = str(item).strip()
        known = text.isascii() and text.isdigit() and int(text) < NUM_ITEMS
        return int(text) if known else None

    def item_id(self, item):
        return int(item)

    def title(self, item):
        return f"title {item}"

    def person(self, *, user, friends, added=(), answers=()):
        index = None if user is None else self.user(user)
        given = [*(friends or ()), *added]
        known = {self.user(one) for one in given} - {None}
        pairs = [(self.item(item), item, liked) for item, liked in answers]
        person = FakePerson(
            user=index,
            friends=tuple(sorted(known)),
            items=tuple(i for i, _, _ in pairs if i is not None),
            liked=tuple(liked for i, _, liked in pairs if i is not None),
        )
        return Named(
            person=person,
            num_friends=len(known),
            unknown_friends=[x for x in friends or () if self.user(x) is None],
            unknown_items=[item for i, item, _ in pairs if i is None],
        )

    def rank(self, questions):
        self.gate.wait(10)
        self.batches.append(len(questions))
        return [self._ranked(question) for question in questions]

    def _ranked(self, question):
        person = question.person
        if question.state is None:
            self.begun += 1
        else:
            self.heard += 1
            assert question.state[0] == len(person.items) - 1
        scores = -np.arange(NUM_ITEMS, dtype=np.float32)
        scores[list(person.friends)] += 100
        for item, liked in zip(person.items, person.liked, strict=True):
            scores[(item + 1) % NUM_ITEMS] += 100 * liked
        if question.only is not None:
            scores[np.setdiff1d(np.arange(NUM_ITEMS), question.only)] = -np.inf
        scores[[*person.not_shown, *question.left_out]] = -np.inf
        items = np.argsort(-scores, kind="stable")[: max(question.count, 32)]
        items = items[np.isfinite(scores[items])]
        state = np.array([len(person.items)]) if question.keep_state else None
        return Ranked(items=items, scores=scores[items], chances=None, state=state)

    def explain(self, person, item, named=()):
        return [f"reason for {item} with {len(person.friends)} friends"]

    def similar(self, item, k):
        return [((item + 1) % NUM_ITEMS, 0.5)][:k]

    def search_users(self, prefix, most):
        names = [str(user) for user in range(NUM_USERS) if user not in self.hidden]
        return [int(name) for name in names if name.startswith(prefix)][:most]

    def hide(self, is_forgotten):
        self.hidden = {user for user in range(NUM_USERS) if is_forgotten(user)}


def make_settings(folder: Path, **changes) -> Settings:
    defaults = {
        "store": f"sqlite:{folder / 'sessions.sqlite'}",
        "events": folder / "events",
        "rate": 0.0,
    }
    return Settings(**(defaults | changes))


def fake_app(folder: Path, *, keys=None, load=None, **changes):
    model = FakeModel()
    app = make_app(make_settings(folder, **changes), load or (lambda: model), keys=keys)
    return SimpleNamespace(app=app, model=model)


def ready(client):
    for _ in range(500):
        if client.get("/ready").status_code == 200:
            return client
        time.sleep(0.01)
    pytest.fail(f"not ready: {client.get('/ready').json()}")


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]
