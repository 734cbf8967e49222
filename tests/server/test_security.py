"""Keys, rates, sizes, hosts, origins and headers: what is refused, and how."""

import asyncio
import hashlib
import json

import pytest
from fakes import make_settings
from test_sessions import Talk

from dlerse_jax.commands.main import main
from dlerse_jax.server.guard import Guard
from dlerse_jax.server.run import default_hosts
from dlerse_jax.server.security import (
    TokenBuckets,
    check_exposure,
    is_loopback,
    new_key,
    read_keys,
)


@pytest.fixture
def keys(tmp_path):
    """A key file with a client and an admin -> their keys, and what is read of it."""
    (client, first), (admin, second) = new_key("shop"), new_key("boss", "admin")
    (tmp_path / "keys").write_text(f"# ours\n\n{first}\n{second}  # mine\n")
    return client, admin, read_keys(tmp_path / "keys")


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def test_the_file_holds_no_key(keys, tmp_path):
    client, admin, found = keys
    text = (tmp_path / "keys").read_text()
    assert client not in text and admin not in text
    assert found[hashlib.sha256(client.encode()).hexdigest()].name == "shop"
    assert len({new_key("a")[0] for _ in range(50)}) == 50


def test_nothing_of_anybody_is_told_without_a_key(start, keys):
    client = start(keys=keys[2])
    api = client.get("/openapi.json").json()
    for path, methods in api["paths"].items():
        for method in methods:
            answer = client.request(method, path, json={})
            is_open = path in ("/health", "/ready")
            assert (answer.status_code == 401) is not is_open, (method, path)
    for path in ("/", "/admin", "/docs", "/static/style.css"):
        assert client.get(path).status_code == 200
    assert client.get("/recommend").headers["www-authenticate"] == "Bearer"
    for wrong in (
        "",
        "x",
        keys[0][:-1],
        keys[0] + "x",
        "\u00e9".encode().decode("latin1"),
    ):
        headers = {"x-api-key": wrong.encode("latin1")}
        assert client.post("/recommend", json={}, headers=headers).status_code == 401


def test_a_key_opens_and_only_an_admins_reloads(start, keys):
    ours, admin, found = keys
    client = start(keys=found)
    small = {"authorization": f"bearer {ours}"}
    for headers in (bearer(ours), small, {"x-api-key": ours}):
        assert client.post("/recommend", json={}, headers=headers).status_code == 200
    for path, method in (("/admin/reload", "POST"), ("/admin/overview", "GET")):
        assert client.request(method, path, headers=bearer(ours)).status_code == 403
        assert client.request(method, path, headers=bearer(admin)).status_code == 200


@pytest.mark.parametrize(
    "line",
    ["shop client", "shop root " + "0" * 64, "a b c d", "shop client " + "g" * 64],
)
def test_a_wrong_line_of_keys_is_named(tmp_path, line):
    (tmp_path / "keys").write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match="keys, line 2: expected `name role digest`"):
        read_keys(tmp_path / "keys")
    with pytest.raises(ValueError, match="DLERSE_API_KEYS: expected"):
        read_keys(None, line)


def test_a_file_without_keys_leaves_no_door_open(tmp_path):
    (tmp_path / "keys").write_text("# none\n")
    with pytest.raises(ValueError, match="no key in it"):
        read_keys(tmp_path / "keys")


def test_keys_come_from_the_environment_too(keys):
    _, line = new_key("env")
    assert [c.name for c in read_keys(None, f"{line},").values()] == ["env"]


def test_the_command_makes_keys(tmp_path, capsys):
    words = ["serve", "--new-key=boss:admin", f"--keys={tmp_path / 'keys'}"]
    assert main(words) == 0
    key = capsys.readouterr().out.splitlines()[0]
    (caller,) = read_keys(tmp_path / "keys").values()
    assert (caller.name, caller.role) == ("boss", "admin")
    assert key not in (tmp_path / "keys").read_text()
    assert main(["serve", "--new-key=a b", f"--keys={tmp_path / 'keys'}"]) == 2
    assert main(["serve", "--new-key=a"]) == 2
    edited = (tmp_path / "keys").read_text().rstrip()  # by an editor that ends no line
    (tmp_path / "keys").write_text(edited)
    assert main(["serve", "--new-key=shop", f"--keys={tmp_path / 'keys'}"]) == 0
    both = read_keys(tmp_path / "keys").values()
    assert [caller.name for caller in both] == ["boss", "shop"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_others_may_not_ask_without_a_key(tmp_path, host, capsys, keys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text('{"config": {}}')
    assert main(["serve", str(tmp_path / "run"), f"--host={host}"]) == 2
    assert "there is no API key" in capsys.readouterr().err
    check_exposure(host, keys[2])


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.8.0.1", "::1", "[::1]"]
)
def test_this_machine_may(host):
    assert is_loopback(host)
    check_exposure(host, {})


def test_without_a_key_the_server_has_no_other_name(start):
    """Else a page could rebind a name of its own to this machine and ask."""
    client = start(wait=False, hosts=default_hosts("127.0.0.1", has_keys=False))
    for host, status in (("evil.test", 421), ("localhost:8000", 200), ("[::1]:9", 200)):
        answer = client.get("/health", headers={"host": host})
        assert answer.status_code == status, host
    assert default_hosts("127.0.0.1", has_keys=True) == ()


def test_probes_reach_a_server_that_answers_to_names_by_its_address(start):
    """Docker asks 127.0.0.1, Kubernetes the pod's address, whatever --hosts lists."""
    client = start(wait=False, hosts=("recommend.test",))
    for path, host, status in (
        ("/health", "127.0.0.1:8000", 200),
        ("/health", "10.1.2.3:8000", 200),
        ("/health", "[fd00::1]:8000", 200),
        ("/health", "evil.test", 421),
        ("/admin", "10.1.2.3:8000", 421),
        ("/admin", "recommend.test", 200),
    ):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == status, (path, host)
    assert client.get("/ready", headers={"host": "10.1.2.3"}).status_code != 421


def test_pages_of_other_origins_may_ask_where_they_are_listed(start):
    client = start(origins=("https://shop.test",))
    for origin, status in (
        ("https://shop.test", 200),
        ("http://testserver", 200),
        ("http://testserver:8080", 403),
        ("https://evil.test", 403),
        ("null", 403),
    ):
        headers = {"origin": origin}
        answer = client.post("/recommend", json={}, headers=headers)
        assert answer.status_code == status, origin
    asked = {"origin": "https://shop.test", "access-control-request-method": "POST"}
    allowed = client.options("/recommend", headers=asked)
    assert allowed.headers["access-control-allow-origin"] == "https://shop.test"
    assert "access-control-allow-credentials" not in allowed.headers


def test_a_browser_may_ask_whether_it_may_ask_without_a_key(start, keys):
    client = start(keys=keys[2], origins=("https://shop.test",))
    asked = {"origin": "https://shop.test", "access-control-request-method": "POST"}
    assert client.options("/recommend", headers=asked).status_code == 200
    assert client.post("/recommend", json={}).status_code == 401


def guarded(tmp_path, app, *messages):
    """What an application behind the guard sends to who sends these messages."""
    left, sent = list(messages), []

    async def receive():
        return left.pop(0)

    async def send(message):
        sent.append(message)

    settings = make_settings(tmp_path)
    guard = Guard(app, settings=settings, keys={}, metrics=lambda: None)
    scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": []}
    asyncio.run(guard(scope, receive, send))
    return sent


def test_an_answer_that_was_begun_is_broken_off_and_not_begun_again(tmp_path, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half way")

    [start] = guarded(tmp_path, app, {"type": "http.request", "body": b""})
    assert start["status"] == 200 and "half way" in caplog.text


def test_a_request_that_broke_off_is_not_answered_as_if_it_were_whole(tmp_path):
    asked = []
    half = {"type": "http.request", "body": b"{", "more_body": True}
    start, body = guarded(tmp_path, asked.append, half, {"type": "http.disconnect"})
    assert start["status"] == 400 and b"broke off" in body["body"] and not asked


def test_each_key_has_a_bucket_of_its_own():
    now = [0.0]
    buckets = TokenBuckets(2.0, 3.0, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now[0] = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now[0] = 100.0
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert TokenBuckets(0.0, 0.0).take("a") == 0
    assert TokenBuckets(1.0, 0.0).take("a") == 0  # one at once, or nobody could ask


def test_too_many_requests_are_told_when_to_come_back(start):
    client = start(rate=0.5, burst=2, wait=True)
    said = [client.post("/recommend", json={}) for _ in range(3)]
    assert [answer.status_code for answer in said] == [200, 200, 429]
    assert said[-1].headers["retry-after"] == "2"
    assert client.get("/health").status_code == 200


def test_a_request_may_not_be_large_whether_it_says_so_or_not(start):
    client = start(most_bytes=1000)
    large = b'{"friends": [' + b"1," * 1000 + b"1]}"
    assert client.post("/recommend", content=large).status_code == 413
    assert client.post("/recommend", content=iter([large])).status_code == 413
    assert client.post("/recommend", json={}).status_code == 200


def test_every_answer_has_the_headers_and_its_pages_ask_nobody_else(client):
    for path in ("/", "/health", "/nowhere", "/static/style.css"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
    assert client.get("/health").headers["cache-control"] == "no-store"
    assert "no-store" not in str(client.get("/static/style.css").headers)
    for path in ("/", "/admin", "/docs"):
        text = client.get(path).text
        assert "http://" not in text and "https://" not in text
        assert "style=" not in text and "<script>" not in text


def test_friends_of_somebody_are_told_to_nobody_else(start):
    """Nor those that were added, nor through reasons, sessions or refusals."""
    client = start(demo=True)
    client.post("/users/12", json={"friends": [13, 17]})
    talk = Talk(client, user=12)
    said = [
        talk.last,
        talk.do("GET"),
        client.post("/recommend", json={"user": 12, "only": [1, 2], "k": 2}),
        client.post("/explain", json={"user": 12, "item": 3}),
        client.post("/explain", json={"session_id": talk.now["session_id"], "item": 3}),
        client.get("/sessions/12"),
        client.get("/users/12"),
        client.get("/users/12/friends"),
        client.post("/users/12/friends", json={"friends": []}),
    ]
    for answer in said:
        body = {k: v for k, v in answer.json().items() if k not in VARYING}
        text = json.dumps(body, default=str)
        assert "13" not in text and "17" not in text, answer.json()


VARYING = ("session_id", "recommendation_id", "expires", "next", "items")
