"""An application on the fake model, started once for the tests that change nothing."""

import pytest
from fakes import fake_app, ready
from fastapi.testclient import TestClient


@pytest.fixture
def start(tmp_path):
    """start(...) -> a client of an application of its own, `client.model` its model."""
    clients = []

    def started(*, wait=True, **changes):
        made = fake_app(tmp_path, **changes)
        client = TestClient(made.app)
        client.__enter__()
        clients.append(client)
        client.model = made.model
        return ready(client) if wait else client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    made = fake_app(tmp_path_factory.mktemp("server"), demo=True)
    with TestClient(made.app) as client:
        client.model = made.model
        yield ready(client)
