"""Lists, reasons and people over HTTP, and how a wrong request is told so."""

import json

import pytest
from fakes import NUM_ITEMS

from dlerse_jax.server import short
from dlerse_jax.server.events import read_events
from dlerse_jax.server.exploration import parse_exploration
from dlerse_jax.server.jsons import json_bytes
from dlerse_jax.server.metrics import ServerMetrics
from dlerse_jax.server.models import RecommendAnswer


def items(answer):
    return [item["item"] for item in answer.json()["items"]]


def test_a_list_is_what_the_model_ranks_first(client):
    answer = client.post("/recommend", json={"friends": [9, "4"], "k": 3})
    assert answer.status_code == 200
    assert items(answer) == [4, 9, 0]
    assert RecommendAnswer.model_validate(answer.json(), strict=True)
    first = answer.json()["items"][0]
    assert first == {
        "item": 4,
        "title": "title 4",
        "score": 96.0,
        "chance": None,
        "propensity": 1.0,
        "position": 0,
    }


def test_answers_excluded_items_and_limits_are_kept_to(client):
    asked = {"liked": [0], "disliked": ["1"], "exclude": [2], "k": 2}
    answer = client.post("/recommend", json=asked | {"only": [0, 1, 2, 7, 8, 9]})
    assert items(answer) == [7, 8]  # item 1 would be first after a like of 0


def test_unknown_ids_are_named_and_the_rest_is_answered(client):
    asked = {"friends": [4, "nobody"], "liked": [999], "exclude": ["what"], "k": 1}
    answer = client.post("/recommend", json=asked)
    assert items(answer) == [4]
    assert answer.json()["unknown_friends"] == ["nobody"]
    assert answer.json()["unknown_items"] == [999, "what"]


def test_not_personal_is_the_same_for_everybody_but_repeats_nothing(client):
    asked = {"friends": [9], "liked": [4], "personal": False, "k": 6}
    assert items(client.post("/recommend", json=asked)) == [0, 1, 2, 3, 5, 6]


def test_a_list_is_short_where_items_run_out(client):
    answer = client.post("/recommend", json={"only": [3], "k": 5})
    assert items(answer) == [3]
    everything = list(range(NUM_ITEMS))
    answer = client.post("/recommend", json={"exclude": everything})
    assert (answer.status_code, items(answer)) == (200, [])


def test_a_list_is_drawn_from_the_candidates_alone(start):
    client = start(exploration=parse_exploration("epsilon:1"), candidates=3, seed=0)
    answers = [client.post("/recommend", json={"k": 1}) for _ in range(12)]
    shown = [answer.json()["items"][0] for answer in answers]
    assert {item["item"] for item in shown} == {0, 1, 2}
    assert [item["propensity"] for item in shown] == pytest.approx([1 / 3] * 12)


def test_an_item_of_a_list_is_answered_once(client):
    made = client.post("/recommend", json={"k": 2}).json()["recommendation_id"]
    path = f"/recommendations/{made}/answers"
    assert client.post(path, json={"item": 0, "liked": True}).status_code == 200
    again = client.post(path, json={"item": "0", "liked": False})
    assert again.status_code == 409
    assert again.json() == {"error": "item '0' of this list was answered before"}
    assert client.post(path, json={"item": 1, "liked": True}).status_code == 200
    unknown = client.post(path, json={"item": "no such item", "liked": True})
    assert unknown.status_code == 404 and "no such item" in unknown.json()["error"]
    shown = client.post("/sessions", json={}).json()["next"]
    of_session = f"/recommendations/{shown['recommendation_id']}/answers"
    answer = {"item": shown["item"], "liked": True}
    assert client.post(of_session, json=answer).status_code == 404
    forged = f"/recommendations/{made[:-1]}x/answers"
    assert client.post(forged, json={"item": 1, "liked": True}).status_code == 404


def test_reasons_are_of_the_session_or_of_the_request(client):
    asked = {"item": 3, "friends": [1, 2]}
    assert client.post("/explain", json=asked).json() == {
        "item": 3,
        "title": "title 3",
        "reasons": ["reason for 3 with 2 friends"],
        "unknown_friends": [],
        "unknown_items": [],
    }
    who = {"friends": [1, "nobody"], "liked": ["what"]}
    reasons = client.post("/explain", json={"item": 3} | who).json()
    assert reasons["unknown_friends"] == ["nobody"]
    assert reasons["unknown_items"] == ["what"]
    session = client.post("/sessions", json={"friends": [1, 2, 3]}).json()
    answered = {"item": 3, "friends": [1], "liked": [3]}
    assert client.post("/explain", json=answered).status_code == 409
    asked = {"item": 3, "session_id": session["session_id"]}
    (reason,) = client.post("/explain", json=asked).json()["reasons"]
    assert reason == "reason for 3 with 3 friends"
    assert client.post("/explain", json={"item": "x"}).status_code == 404


def test_reasons_may_name_those_alone_whom_the_caller_named(start):
    client, named = start(), []
    client.model.explain = lambda person, item, who: named.append(who) or []
    client.post("/users/ann", json={"friends": [7]})
    for asked in ({"friends": [1, "2"]}, {"user": "ann"}):
        client.post("/explain", json={"item": 3} | asked)
    assert named == [(1, "2"), ()]


def test_similar_items_and_users_are_found(client):
    assert client.get("/items/3/similar").json() == [
        {"item": 4, "title": "title 4", "similarity": 0.5}
    ]
    assert client.get("/items/nope/similar").status_code == 404
    assert client.get("/users?prefix=1&k=3").json() == {"users": [1, 10, 11]}


def test_users_are_not_found_without_the_switch(start):
    assert start().get("/users?prefix=1").status_code == 404


def test_somebody_new_and_a_new_tie_count_at_once(start):
    client = start()

    def first():
        asked = {"user": "new one", "k": 3}
        return items(client.post("/recommend", json=asked))

    assert first() == [0, 1, 2]
    added = client.post("/users/new one", json={"friends": [7, "stranger", "new one"]})
    assert added.json() == {"friends": 2, "known": 1}
    assert first() == [7, 0, 1]
    client.post("/users/new one/friends", json={"friends": [8]})
    assert first() == [7, 8, 0]
    client.post("/users/new one", json={"friends": [9]})
    assert first() == [9, 0, 1]
    answer = client.post("/recommend", json={"user": "new one", "friends": [], "k": 1})
    assert items(answer) == [0]  # friends that are given stand in place of those kept


def test_a_new_tie_counts_in_a_session_that_is_open(start):
    client = start()
    client.post("/users/ann", json={"friends": []})
    session = client.post("/sessions", json={"user": "ann"}).json()
    client.post("/users/ann/friends", json={"friends": [20, 9]})
    path = f"/sessions/{session['session_id']}/answers"
    said = {"recommendation_id": session["next"]["recommendation_id"], "liked": False}
    assert client.post(path, json=said).json()["next"]["item"] == 9


def test_who_is_forgotten_is_in_no_answer_no_session_and_no_log(start, tmp_path):
    client = start(demo=True)
    client.post("/users/7", json={"friends": [1]})
    client.post("/users/ann", json={"friends": [7, 8]})
    own = client.post("/sessions", json={"user": 7}).json()
    friend = client.post("/sessions", json={"user": "ann", "friends": [7, 8]}).json()
    made = client.post("/recommend", json={"user": "7"}).json()["recommendation_id"]
    said = {"item": 0, "liked": True}
    client.post(f"/recommendations/{made}/answers", json=said)

    gone = client.delete("/users/7").json()
    assert gone == {"sessions": 2, "log_lines": 3}  # session, list, its answer
    assert client.get(f"/sessions/{own['session_id']}").status_code == 404
    left = client.get(f"/sessions/{friend['session_id']}").json()
    assert left["friends"] == [8]
    assert client.get("/users?prefix=7").json() == {"users": []}
    asked = {"friends": [7], "k": 1}
    assert client.post("/recommend", json=asked).json()["unknown_friends"] == [7]
    asked = {"user": "ann", "k": 2}
    assert items(client.post("/recommend", json=asked)) == [8, 0]
    assert "7" not in {event["subject"] for event in read_events(tmp_path / "events")}
    log = (tmp_path / "events/events.jsonl").read_text()
    assert made not in log and own["session_id"] not in log


ANSWER = {"recommendation_id": "r", "liked": True}
WRONG = [
    ("POST", "/recommend", {"k": 0}, "k: Input should be greater than or equal to 1"),
    ("POST", "/recommend", {"k": 101}, "k: "),
    ("POST", "/recommend", {"k": True}, "k: "),
    ("POST", "/recommend", {"freinds": [1]}, "freinds: Extra inputs"),
    ("POST", "/recommend", {"liked": [1], "disliked": ["1"]}, "item '1' is in liked"),
    ("POST", "/recommend", {"friends": [1.5]}, "friends.0"),
    ("POST", "/recommend", {"friends": [2**63]}, "friends.0"),
    ("POST", "/recommend", {"friends": ["x" * 201]}, "friends.0"),
    ("POST", "/recommend", {"friends": list(range(1001))}, "friends: "),
    ("POST", "/recommend", {"user": "a\0b"}, "user"),
    ("POST", "/recommend", {"user": "\ud800"}, "user"),
    ("DELETE", "/users/a%00b", None, "user_id: "),
    ("POST", "/recommend", [], "the request: "),
    ("GET", "/items/3/similar?k=x", None, "k: "),
    ("GET", "/sessions/" + "x" * 65, None, "session_id: "),
    ("GET", "/sessions/%00", None, "session_id: "),
    ("POST", "/sessions/%00/answers", ANSWER, "session_id: "),
]


@pytest.mark.parametrize(("method", "path", "body", "words"), WRONG)
def test_a_wrong_value_is_named_in_one_line(client, method, path, body, words):
    content = None if body is None else json.dumps(body)
    headers = {"content-type": "application/json"}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(words)
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/recommend", 405), ("GET", "/sessions/x", 404)],
)
def test_every_refusal_is_json(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_what_is_no_json_is_refused_whatever_it_says_it_is(client):
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        headers = {"content-type": kind}
        answer = client.post("/recommend", content=b"{nope", headers=headers)
        assert answer.status_code == 422


def test_a_mistake_of_the_server_shows_no_trace_and_is_logged_in_a_line(
    start, monkeypatch, caplog
):
    client = start()

    def broken(questions):
        raise RuntimeError("secret\nline")

    monkeypatch.setattr(client.model, "rank", broken)
    answer = client.post("/recommend", json={})
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server made a mistake; it is logged"}
    (message,) = [r.getMessage() for r in caplog.records if "secret" in r.getMessage()]
    assert "\n" not in message


def test_the_interface_describes_itself_with_examples(client):
    api = client.get("/openapi.json").json()
    assert "Traceback" not in json.dumps(api)
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody")
            if body is None:
                continue
            name = body["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
            (example,) = api["components"]["schemas"][name]["examples"]
            filled = path.replace("{", "").replace("}", "")
            answer = client.request(method, filled, json=example)
            assert answer.status_code != 422, (path, answer.json())


def test_numbers_for_prometheus_have_routes_and_no_ids(client):
    client.get("/sessions/a-secret-id")
    text = client.get("/metrics").text
    assert (
        'dlerse_requests_total{route="GET /sessions/{session_id}",status="404"}' in text
    )
    assert 'dlerse_model{digest="fake"} 1.0' in text
    assert "a-secret-id" not in text


def test_the_operators_page_has_numbers_of_today(start):
    client = start()
    session = client.post("/sessions", json={}).json()
    path = f"/sessions/{session['session_id']}/answers"
    said = {"recommendation_id": session["next"]["recommendation_id"], "liked": True}
    client.post(path, json=said)
    overview = client.get("/admin/overview").json()
    assert overview["model"] == "fake"
    assert overview["share_of_likes"] == 1.0
    assert [(day["liked"], day["answers"]) for day in overview["days"]] == [(1, 1)]
    client.post(f"/sessions/{session['session_id']}/undo")
    (day,) = client.get("/admin/overview").json()["days"]
    assert (day["liked"], day["answers"]) == (0, 0)


def test_an_answer_to_a_list_is_judged_and_its_line_says_what_was_answered_before(
    start, tmp_path
):
    client = start()
    asked = {"liked": [3, 4], "disliked": [5], "k": 1}
    made = client.post("/recommend", json=asked).json()
    path = f"/recommendations/{made['recommendation_id']}/answers"
    client.post(path, json={"item": made["items"][0]["item"], "liked": False})
    overview = client.get("/admin/overview").json()
    assert (overview["answers_judged"], overview["share_of_likes"]) == (1, 0.0)
    shown, _ = read_events(tmp_path / "events")
    assert shown["step"] == 3


def test_the_short_way_and_fastapis_answer_alike(client, monkeypatch):
    """A page of our own origin goes FastAPI's way; a program goes the short one."""
    taken = []
    monkeypatch.setattr(short, "_send_json", _counted(short._send_json, taken))
    answers = []
    for headers in ({}, {"origin": "http://testserver"}):
        asked = {"friends": [4], "liked": ["5"], "exclude": ["ü\x9b", 0], "k": 3}
        found = client.post("/recommend", json=asked, headers=headers)
        assert b"\\u009b" in found.content.lower()
        wrong = client.post("/recommend", json={"k": 0}, headers=headers).json()
        answers.append((found.headers["content-type"], found.json(), wrong))
    for part in (answers[0][1], answers[1][1]):
        part.pop("recommendation_id")
    assert answers[0] == answers[1]
    assert len(taken) == 1
    assert b'route="POST /recommend"' in client.get("/metrics").content


def test_a_session_is_the_same_whichever_way_it_is_begun(client, monkeypatch):
    taken = []
    monkeypatch.setattr(short, "_send_json", _counted(short._send_json, taken))
    asked = {"json": {"friends": [4, "x"], "liked": ["5"]}}
    word = {"Idempotency-Key": "ü".encode("latin-1")}
    origin = {"origin": "http://testserver"}
    long_way = client.post("/sessions", **asked, headers=word | origin)
    assert (long_way.status_code, len(taken)) == (201, 0)
    short_way = client.post("/sessions", **asked, headers=word)
    assert (short_way.status_code, len(taken)) == (201, 1)
    assert short_way.json() == long_way.json()
    assert client.post("/sessions", **asked).json() != long_way.json()
    refused = client.post("/sessions", json={}, headers={"Idempotency-Key": "k" * 101})
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("idempotency-key: ")
    assert b'route="POST /sessions"' in client.get("/metrics").content


def _counted(function, calls):
    async def counted(*arguments):
        calls.append(arguments)
        await function(*arguments)

    return counted


def test_json_is_ascii_whatever_is_in_it():
    """Half a surrogate pair, too, which a title may hold."""
    content = {"title": "\x1b\x9b\u2028\ud800", "score": 0.1}
    assert json_bytes(content).isascii()
    assert json.loads(json_bytes(content)) == content
    assert json_bytes({"chance": float("nan")}) == b'{"chance":null}'


def test_all_requests_of_a_minute_are_counted():
    metrics = ServerMetrics()
    for _ in range(3000):  # more than percentiles are taken of
        metrics.request("GET /", 200, 0.001)
    assert metrics.overview()["requests_last_minute"] == 3000


def test_percentiles_are_in_milliseconds_and_a_minute_is_no_longer(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    metrics = ServerMetrics()
    assert metrics.overview()["p99_ms"] is None
    for milliseconds in range(200, 0, -1):
        metrics.request("GET /", 200, milliseconds / 1000)
    now[0] += 61
    metrics.request("GET /", 200, 0.001)
    found = metrics.overview()
    assert (found["p50_ms"], found["p99_ms"]) == (100, 198)
    assert found["requests_last_minute"] == 1
