"""A server in a process of its own: killed under load, asked by the client."""

import contextlib
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from fake_server import fake_server
from fakes import free_port
from server_kills import kills

from dlerse_jax.serving.client import Client, ServerError


def test_a_killed_server_loses_no_acknowledged_answer(tmp_path):
    told, missing = kills(tmp_path, 2)
    assert told >= 40
    assert missing == []


LOADS_FOR_LONG = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from dlerse_jax.server import loading, run
from dlerse_jax.server.settings import Settings

def load(*_, **__):
    ThreadPoolExecutor().submit(time.sleep, 100).result()

loading.load_model = load
folder = Path(sys.argv[1])
settings = Settings(events=folder / "events")
run.serve(folder, settings, host="127.0.0.1", port=int(sys.argv[2]))
"""


def test_the_first_process_of_a_container_stops_while_a_model_is_loaded(tmp_path):
    """The signal that uvicorn raises again in the end does not reach such a process."""
    (tmp_path / "config.json").write_text('{"config": {}}')
    port = free_port()
    words = [sys.executable, "-c", LOADS_FOR_LONG, str(tmp_path), str(port)]
    unmoved = ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"]
    process = subprocess.Popen([*unmoved, *words])
    try:
        for _ in range(600):
            with socket.socket() as some:
                if some.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with fake_server(tmp_path_factory.mktemp("server")) as (_, found):
        yield found


def test_the_client_asks_all_that_there_is(address):
    with Client(address) as client:
        assert client.is_ready()
        found = client.recommend(friends=[4], exclude=[0], k=2)
        assert [item["item"] for item in found["items"]] == [4, 1]
        client.answer(found["recommendation_id"], 4, liked=True)
        with pytest.raises(ServerError, match="answered before") as refusal:
            client.answer(found["recommendation_id"], 4, liked=True)
        assert refusal.value.status == 409
        assert client.similar(3)[0]["item"] == 4
        assert client.explain(3, friends=[1]) == ["reason for 3 with 1 friends"]
        assert client.add_user("a/b?", [5]) == {"friends": 1, "known": 1}
        assert client.add_friends("a/b?", [6]) == {"friends": 2, "known": 2}
        found = client.recommend(user="a/b?", k=1)
        assert found["items"][0]["item"] == 5
        assert client.forget("a/b?")["sessions"] == 0
        assert client.reload()["changed"] is False


def test_the_client_holds_a_session(address):
    with Client(address + "/") as client:
        talk = client.session(friends=[9], disliked=[0])
        assert talk.next["title"] == "title 9"
        assert talk.answer(liked=True)["item"] == 10
        assert talk.why() == ["reason for 10 with 1 friends"]
        talk.change(friends=[3])
        assert talk.next["item"] == 3
        talk.undo()
        assert [answer["item"] for answer in talk.answers] == [0]
        assert talk.next["item"] == 3
        other = client.resume(talk.session_id)
        other.answer(liked=False)
        with pytest.raises(ServerError) as refusal:
            talk.answer(liked=True)
        assert refusal.value.status == 409
        talk.refresh()
        assert talk.next == other.next
        talk.delete()
        with pytest.raises(ServerError, match="no session of this id"):
            talk.refresh()


def test_the_clients_session_has_the_ids_that_the_model_does_not_know(address):
    with Client(address) as client:
        talk = client.session(friends=[9, "nobody"], liked=["what", 0])
        assert (talk.unknown_friends, talk.unknown_items) == (["nobody"], ["what"])


def test_the_client_says_what_is_wrong_with_an_address(address):
    with pytest.raises(ValueError, match="expected http://HOST:PORT"):
        Client("127.0.0.1:8000")
    assert not Client("http://127.0.0.1:1").is_ready()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (413, b"<html>Request Entity Too Large</html>", "HTTP 413, and no JSON"),
        (502, b"<html>Bad Gateway</html>", "HTTP 502, and no JSON"),
        (200, b"<html>Another server</html>", "HTTP 200, and no JSON"),
        (301, b"", "HTTP 301"),
        (404, b"[]", "HTTP 404"),
        (409, b'{"error": "answered before"}', "answered before"),
    ],
)
def test_whatever_answers_in_place_of_the_server_is_a_refusal(status, body, told):
    client = Client("http://localhost")
    client._exchange = lambda *_: (status, body)
    with pytest.raises(ServerError) as refusal:
        client.recommend()
    assert (refusal.value.status, str(refusal.value)) == (status, told)
    assert not client.is_ready()


def test_a_session_is_begun_three_times_at_most_and_under_one_word(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    asked = []

    def break_off(method, path, body, headers):
        asked.append((path, headers["Idempotency-Key"]))
        raise ConnectionResetError

    client = Client("https://localhost/shop/")
    client._exchange = break_off
    with pytest.raises(ConnectionResetError):
        client.session()
    assert len(asked) == 3 and len(set(asked)) == 1
    assert asked[0][0] == "/shop/sessions"


@contextlib.contextmanager
def server_of_half_answers(ending):
    """The port of a server that reads one request and ends as `ending(socket)` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as some, some.makefile("rb") as sent:
                length = 0
                while (line := sent.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                sent.read(length)  # what is left unread would reset the connection
                ending(some)

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"


def says_half(some):
    some.sendall(HALF)


def says_half_and_resets(some):
    some.sendall(HALF)
    resets(some)


def resets(some):
    some.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("ending", [says_half, says_half_and_resets])
def test_an_answer_that_breaks_off_is_a_lost_connection(ending):
    broke_off = pytest.raises(ConnectionError, match="broke off")
    with server_of_half_answers(ending) as port, broke_off:
        Client(f"http://127.0.0.1:{port}").recommend()


def test_a_connection_that_is_reset_before_an_answer_is_not_one_that_broke_off():
    with server_of_half_answers(resets) as port, pytest.raises(OSError) as lost:
        Client(f"http://127.0.0.1:{port}").recommend()
    assert "broke off" not in str(lost.value)


def test_the_client_takes_up_a_connection_that_was_closed(address):
    client = Client(address)
    client.is_ready()
    client._connection.sock.shutdown(2)
    assert len(client.recommend(k=1)["items"]) == 1
    client.close()
