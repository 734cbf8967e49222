"""Requests that nobody thought of, made from the API's own description: no 5xx.

`HYPOTHESIS_PROFILE=fuzz` tries thousands of them.
"""

import json

import pytest
from fakes import fake_app, ready
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from thorough import IS_FUZZ

schemathesis = pytest.importorskip(
    "schemathesis", reason="needs the package schemathesis, of the extra test"
)
GenerationMode = pytest.importorskip("schemathesis.generation").GenerationMode

TRIES = 300 if IS_FUZZ else 5

RUN = settings(
    max_examples=TRIES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    made = fake_app(tmp_path_factory.mktemp("server"), demo=True)
    with TestClient(made.app) as client:
        ready(client)
        found = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        yield found, client


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_is_a_mistake_of_the_server(schema, mode):
    """Neither one that follows the description nor one that does not."""
    described, client = schema
    tried = 0

    def ask(case):
        nonlocal tried
        tried += 1
        answer = client.request(
            case.method,
            case.formatted_path,
            params=case.query,
            headers={"content-type": "application/json"}
            | _printable(case.headers or {}),
            content=_body(case),
        )
        assert answer.status_code < 500, answer.text
        kind = answer.headers["content-type"]
        assert kind.startswith(("application/json", "text/plain"))
        if answer.status_code >= 400:
            assert list(answer.json()) == ["error"]
            assert "\n" not in answer.json()["error"]

    for found in described.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue  # hardly any text is a wrong id: it would be looked for, for long
        RUN(given(case=operation.as_strategy(generation_mode=mode))(ask))()
    assert tried > TRIES * 8


def _printable(headers):
    """Those that can be sent at all."""
    return {str(k): str(v) for k, v in headers.items() if str(v).isprintable()}


def _body(case):
    """Whatever was made, as it is: numbers that JSON lacks, bytes that are none."""
    if type(case.body).__name__ == "NotSet":
        return None
    if isinstance(case.body, bytes):
        return case.body
    return json.dumps(case.body).encode()
