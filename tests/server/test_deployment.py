"""What is around the command fits it: files of deploy/, spans, missing packages."""

import asyncio
import configparser
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from fakes import fake_app, ready
from fastapi.testclient import TestClient
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dlerse_jax.commands.main import main
from dlerse_jax.commands.serve import STORE
from dlerse_jax.commands.usage import HELP
from dlerse_jax.server.run import uvicorn_config
from dlerse_jax.server.security import ENVIRONMENT
from dlerse_jax.server.settings import Settings
from dlerse_jax.server.store import open_store
from dlerse_jax.server.telemetry import traced

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.iterdir())
REQUIREMENTS = (DEPLOY / "requirements.txt").read_text()
LEFT_OUT = ("wandb", "matplotlib")


def needed_by_the_server():
    """Requirements of the package and the image's extras, but for what is left out."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    texts = [setup["options"]["install_requires"]]
    texts += [extras[name] for name in ("serve", "redis", "postgres", "telemetry")]
    lines = [line for text in texts for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line and line[0] != "#"]
    return [requirement for requirement in found if requirement.name not in LEFT_OUT]


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
    assert "HEALTHCHECK" in text
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text()
    others = ["dlerse_jax", "deploy/requirements.txt"]
    assert all(f"\n!{name}\n" in kept for name in [*copied, *others])
    # Before the sources: else each change of them installs everything again.
    assert text.index("-r /requirements.txt") < text.index("COPY dlerse_jax")


def test_the_image_installs_what_the_server_needs_and_at_fixed_versions():
    lines = [line for line in REQUIREMENTS.splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    for requirement in needed_by_the_server():
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name}: run tools/image_requirements.py"
        assert requirement.specifier.contains(pin, prereleases=True), requirement


BLOCKS_WHAT_IS_LEFT_OUT = """
import importlib, pkgutil, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # any import of it fails
import dlerse_command, dlerse_jax.commands.main
for name in ("commands.serve", "experiment.restore", "server", "serving"):
    module = importlib.import_module(f"dlerse_jax.{name}")
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        importlib.import_module(f"{module.__name__}.{found.name}")
assert not {"fontTools", "PIL"} & set(sys.modules)
"""


def test_serving_imports_nothing_that_the_image_leaves_out():
    words = [sys.executable, "-c", BLOCKS_WHAT_IS_LEFT_OUT, ",".join(LEFT_OUT)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-1000:]


def test_a_container_is_given_the_time_that_requests_may_take():
    """Docker Compose alone would kill after 10 s what may answer for 20."""
    needed = uvicorn_config(None, "127.0.0.1", 8000).timeout_graceful_shutdown
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][
        "server"
    ]
    assert int(service["stop_grace_period"].removesuffix("s")) > needed
    pod = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    pod = pod["spec"]["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > needed + int(sleep[1])
    unit = (DEPLOY / "dlerse.service").read_text()
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]) > needed


def test_whoever_runs_the_image_is_the_same_everywhere():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.M)
    assert f"--uid {user[1]} --gid {user[2]}" in dockerfile
    pod = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    context = pod["spec"]["template"]["spec"]["securityContext"]
    assert context["runAsUser"] == int(user[1]) and context["fsGroup"] == int(user[2])


def test_containers_can_write_to_nothing_but_state_and_temporary_files():
    """And what is mounted is there, so that Docker makes no folder in its place."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    server = services["server"]
    assert server["read_only"] is True and server["cap_drop"] == ["ALL"]
    binds = [
        mount
        for service in services.values()
        for mount in service["volumes"]
        if isinstance(mount, dict)
    ]
    assert len(binds) == 2
    assert all(mount["read_only"] for mount in binds)
    assert not any(mount["bind"]["create_host_path"] for mount in binds)
    assert [v for v in server["volumes"] if isinstance(v, str)] == ["state:/state"]
    container = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    container = container["spec"]["template"]["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    written = {m["mountPath"] for m in container["volumeMounts"] if "readOnly" not in m}
    assert written == {"/state", "/tmp"}


def test_names_that_the_files_give_to_each_other_are_the_same():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    server = compose["services"]["server"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    job = prometheus["scrape_configs"][0]
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    files = [v for v in compose["services"]["prometheus"]["volumes"] if "target" in v]
    assert [v["target"] for v in files] == [job["authorization"]["credentials_file"]]
    (store,) = [word for word in server["command"] if word.startswith("--store=")]
    assert (
        re.fullmatch(r"--store=redis://(\w+):6379/0", store)[1] in compose["services"]
    )
    container, service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = container["spec"]["template"]
    container = pod["spec"]["containers"][0]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    image = f"dlerse:{metadata.version('dlerse_jax')}"
    assert container["image"] == server["image"] == image
    known = {ENVIRONMENT, STORE}
    assert {variable["name"] for variable in container["env"]} == known
    assert set(server["environment"]) == {ENVIRONMENT}


def test_nginx_closes_connections_first_and_lets_the_server_refuse():
    text = (DEPLOY / "nginx.conf").read_text()
    kept = int(re.search(r"keepalive_timeout (\d+)s", text)[1])
    assert kept < uvicorn_config(None, "127.0.0.1", 8000).timeout_keep_alive
    largest = int(re.search(r"client_max_body_size (\d+)m", text)[1]) << 20
    settings = Settings(events=Path("events"))
    assert largest > settings.most_bytes
    waits = [int(found) for found in re.findall(r"proxy_read_timeout (\d+)s", text)]
    assert min(waits) > settings.answer_seconds + settings.body_seconds


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
    for name in ("run", "redis_store", "postgres"):  # of whichever test was before
        monkeypatch.delattr(f"dlerse_jax.server.{name}", raising=False)
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
        (["{}", "--rate=nan"], "rate=nan: it must be a finite number"),
        (["{}", "--session-days=inf"], "session-days=inf: it must be a finite number"),
        (["{}", "--seed=2"], "--seed=2: {} has the seeds 0 to 1"),
        (["{}", "--keys={}/no_keys"], "no_keys"),
        (["{}", "--store=mysql://me:secret@x"], "begins with 'mysql', expected sqlite"),
    ],
)
def test_a_wrong_word_of_the_command_is_said_before_anything_is_loaded(
    tmp_path, words, problem, capsys
):
    (tmp_path / "config.json").write_text('{"config": {"num_seeds": 2}}')
    filled = [word.replace("{}", str(tmp_path)) for word in words]
    problem = problem.replace("{}", str(tmp_path))
    assert main(["serve", *filled]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line and "secret" not in line
