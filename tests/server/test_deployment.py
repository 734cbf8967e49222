"""What is around the command fits it: files of deploy/, spans, missing packages."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
import yaml
from fakes import fake_app, ready
from fastapi.testclient import TestClient

from dlerse_jax.commands.main import main
from dlerse_jax.commands.usage import HELP
from dlerse_jax.server.store import open_store
from dlerse_jax.server.telemetry import traced

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_flags_and_extras_that_are_named_exist(path):
    text = path.read_text()
    words = re.findall(r"--([a-z-]+)=", text)
    ours = {"host", "state", "store", "watch", "keys", "new-key", "hosts"}
    for word in set(words) & ours:
        assert f"--{word}" in HELP["serve"]
    setup = (ROOT / "setup.cfg").read_text()
    for extras in re.findall(r"\[([a-z,]+)\]'", text):
        for extra in extras.split(","):
            assert f"\n{extra} =\n" in setup
    for route in re.findall(r"(?:path: |8000)(/[a-z]+)", text):
        assert f'"{route}"' in (ROOT / "dlerse_jax/server/app.py").read_text()


@pytest.mark.parametrize("name", ["compose.yaml", "prometheus.yaml", "kubernetes.yaml"])
def test_files_are_yaml_and_nothing_runs_as_root(name):
    documents = list(yaml.safe_load_all((DEPLOY / name).read_text()))
    assert all(documents)
    if name == "kubernetes.yaml":
        pod = documents[0]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        mounted = {m["name"] for m in pod["containers"][0]["volumeMounts"]}
        made = {v["name"] for v in pod["volumes"]}
        made |= {
            claim["metadata"]["name"]
            for claim in documents[0]["spec"]["volumeClaimTemplates"]
        }
        assert mounted == made
    if name == "compose.yaml":
        assert set(documents[0]["services"]) == {"server", "valkey", "prometheus"}


def test_the_image_holds_what_the_package_is_built_from():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = re.search(r"^COPY (.*) /source/$", text, re.M)[1].split()
    assert all((ROOT / name).exists() for name in copied)
    assert "\nUSER dlerse\n" in text and "HEALTHCHECK" in text
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text()
    assert all(f"\n!{name}\n" in kept for name in [*copied, "dlerse_jax"])


def test_pages_are_in_the_package():
    names = {path.suffix for path in (ROOT / "dlerse_jax/server/pages").iterdir()}
    line = next(
        line
        for line in (ROOT / "setup.cfg").read_text().splitlines()
        if line.startswith("dlerse_jax.server.pages")
    )
    assert all(f"*{suffix}" in line for suffix in names - {".py", ""})


def test_spans_have_routes_and_no_ids(tmp_path):
    trace = pytest.importorskip(
        "opentelemetry.sdk.trace.export.in_memory_span_exporter"
    )
    spans = trace.InMemorySpanExporter()
    app = traced(fake_app(tmp_path).app, spans)
    with TestClient(app) as client:
        ready(client)
        client.get("/sessions/secret-id?a=secret")
        client.post("/recommend", json={"user": "secret"})
    found = {span.name: dict(span.attributes) for span in spans.get_finished_spans()}
    assert found["GET /sessions/{session_id}"]["http.response.status_code"] == 404
    assert found["POST /recommend"]["http.response.status_code"] == 200
    assert "secret" not in str(found)


def test_a_missing_package_is_named_with_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dlerse_jax.server.run", None)
    monkeypatch.setitem(sys.modules, "dlerse_jax.server.redis_store", None)
    monkeypatch.setitem(sys.modules, "dlerse_jax.server.postgres", None)
    monkeypatch.delattr("dlerse_jax.server.run", raising=False)
    assert main(["serve", str(tmp_path)]) == 2
    assert "pip install 'dlerse_jax[serve]'" in capsys.readouterr().err
    for address, extra in (("redis://x", "redis"), ("postgresql://x", "postgres")):
        with pytest.raises(ValueError, match=rf"dlerse_jax\[{extra}\]"):
            asyncio.run(open_store(address))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "usage: dlerse serve RUN"),
        (["{}/nothing"], "no config.json in it"),
        (["{}", "--port=99999"], "port"),
        (["{}", "--exploration=greedy"], "expected none, epsilon:0.1 or softmax:0.5"),
        (["{}", "--candidates=0"], "candidates"),
        (["{}", "--rate=-1"], "rate"),
        (["{}", "--keys={}/no_keys"], "no_keys"),
        (["{}", "--store=mysql://x"], "expected sqlite:FILE"),
    ],
)
def test_a_wrong_word_of_the_command_is_said_before_anything_is_loaded(
    tmp_path, words, problem, capsys
):
    (tmp_path / "config.json").write_text('{"config": {}}')
    filled = [word.replace("{}", str(tmp_path)) for word in words]
    assert main(["serve", *filled]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line
