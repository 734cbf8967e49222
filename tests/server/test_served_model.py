"""The real thing, small: what the server answers is what the recommender says."""

import dataclasses

import jax
import numpy as np
import pytest
from fakes import make_settings
from fastapi.testclient import TestClient
from served import finished_run, served

from dlerse_jax.server import loading
from dlerse_jax.server.app import make_app
from dlerse_jax.server.known import KnownPeople
from dlerse_jax.server.loading import check, files_digest
from dlerse_jax.server.ranking import Question
from dlerse_jax.server.served import ServedModel
from dlerse_jax.serving.names import Names


@pytest.fixture(scope="module")
def model():
    return ServedModel(served("dlerse_con"), digest="tiny")


@pytest.fixture(scope="module")
def client(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    app = make_app(make_settings(folder), lambda: model)
    with TestClient(app) as client:
        while client.get("/ready").status_code != 200:
            pass
        yield client


def ids(model, items):
    return [model.item_id(item) for item in items]


PEOPLE = [
    {},
    {"friends": [3, 7, 11]},
    {"friends": [3], "liked": [1], "disliked": [2, 5]},
    {"user": 4},
    {"user": 4, "liked": [9]},
    {"user": 4, "friends": [8]},
]


@pytest.mark.parametrize("asked", PEOPLE, ids=str)
def test_a_list_is_the_recommenders(client, asked):
    answer = client.post("/recommend", json=asked | {"k": 6}).json()
    expected = served("dlerse_con").recommend(**asked, k=6)
    found = [item["item"] for item in answer["items"]]
    scores = [item["score"] for item in answer["items"]]
    assert scores == pytest.approx([item.score for item in expected], abs=1e-5)
    assert found == [item.item for item in expected]


def test_a_session_is_the_recommenders_answer_by_answer(client):
    session = served("dlerse_con").session(friends=[3, 7])
    talk = client.post("/sessions", json={"friends": [3, 7]}).json()
    path = f"/sessions/{talk['session_id']}"
    for liked in (True, False, True, True):
        expected = session.next()
        assert talk["next"]["item"] == expected.item
        assert talk["next"]["score"] == pytest.approx(expected.score, abs=1e-5)
        session.answer(expected.item, liked)
        said = {"recommendation_id": talk["next"]["recommendation_id"], "liked": liked}
        talk = client.post(f"{path}/answers", json=said).json()
    session.undo()
    talk = client.post(f"{path}/undo").json()
    assert talk["next"]["item"] == session.next().item


def test_an_answer_is_one_step_and_equals_the_whole_way(model):
    """Past the agent's horizon, too, where the oldest answers are forgotten."""
    person = model.person(user=None, friends=(3, 7)).person
    question = Question(model=model, person=person, count=5, keep_state=True)
    for number in range(9):
        (step,) = model.rank([question])
        (whole,) = model.rank([dataclasses.replace(question, state=None)])
        assert step.items[:5].tolist() == whole.items[:5].tolist()
        assert step.scores == pytest.approx(whole.scores, abs=1e-5)
        after = question.person.with_answer(int(step.items[0]), number % 2 == 0)
        question = dataclasses.replace(question, person=after, state=step.state)


def test_a_batch_of_all_kinds_answers_each_as_alone(model):
    people = [
        model.person(user=None, friends=()).person,
        model.person(user=None, friends=(3, 7), answers=((2, True),)).person,
        model.person(user=4, friends=None).person,
        model.person(user=4, friends=(9,)).person,
        model.person(user=5, friends=None, added=("9",)).person,
    ]
    questions = [
        Question(model=model, person=person, left_out=(place,), count=7)
        for place, person in enumerate(people)
    ]
    questions[0] = dataclasses.replace(questions[0], only=(1, 2, 3))
    together = model.rank(questions)
    assert set(together[0].items.tolist()) == {1, 2, 3}
    for place, (question, ranked) in enumerate(zip(questions, together, strict=True)):
        (alone,) = model.rank([question])
        assert ranked.scores == pytest.approx(alone.scores, abs=1e-5)
        assert place not in ranked.items
        assert not set(ranked.items) & set(question.person.not_shown)


def test_nothing_is_compiled_for_other_numbers(model):
    """Of friends, answers and people, once a shape was seen."""

    def ask(friends, answers, people):
        told = tuple((item, item % 2 == 0) for item in range(answers))
        person = model.person(user=None, friends=friends, answers=told).person
        model.rank([Question(model=model, person=person)] * people)

    ask((1, 2), 0, 3)
    ask((1, 2), 1, 3)
    before = model.num_programs
    ask((1, 2, 3, 4, 5, 6, 7, 8), 0, 4)
    ask((), 5, 2)
    assert model.num_programs == before


def test_every_shape_is_among_those_that_are_compiled_beforehand(model):
    forms = {dataclasses.replace(form, ranked=32) for form in model.forms()}
    for asked in (
        {"user": None, "friends": ()},
        {"user": None, "friends": tuple(range(40)), "answers": ((1, True),)},
        {"user": 4, "friends": None},
        {"user": 4, "friends": (1,), "answers": ((1, True),)},
    ):
        assert model.form(model.person(**asked).person) in forms


def test_somebody_who_is_hidden_is_nobody_and_no_friend(model):
    data = served("dlerse_con").dataset
    friend = int(data.friend_sources[0])
    user = int(data.friend_targets[0])
    before = model.person(user=user, friends=None)
    assert before.person.user == user
    model.hide(lambda name: name == friend)
    try:
        assert model.user(friend) is None
        assert friend not in model.search_users(str(friend), 10)
        after = model.person(user=user, friends=None)
        assert after.person.user is None  # asked for without that friend
        assert friend not in after.person.friends
        assert after.num_friends == before.num_friends - 1
        assert after.person.past == before.person.past
    finally:
        model.hide(lambda name: False)


def test_an_id_is_spelt_as_the_data_has_it(model):
    """Else somebody who is forgotten as 7 would be used as "07" all the same."""
    assert model.user(7) == model.user("7") == model.user(" 7 ") is not None
    assert model.item("7") == model.item(7) is not None
    for other in ("07", "+7", "７", "7_0"):
        assert model.user(other) is None and model.item(other) is None


def test_ids_that_javascript_would_round_are_text(monkeypatch):
    large = 2**60 + 1
    recommender = served("friends")
    data = dataclasses.replace(
        recommender.dataset,
        user_ids=recommender.dataset.user_ids + large,
        item_ids=recommender.dataset.item_ids + large,
    )
    monkeypatch.setattr(recommender, "dataset", data)
    monkeypatch.setattr(recommender, "names", Names(data))
    model = ServedModel(recommender, digest="large")
    assert (model.item_id(0), model.user_id(0)) == (str(large), str(large))
    assert model.search_users(str(large), 1) == [str(large)]
    assert model.item(str(large)) == model.item(large) == model.user(str(large)) == 0


def test_ties_that_were_added_are_used_and_not_told(model):
    named = model.person(user=None, friends=("who",), added=("stranger", "7"))
    assert named.unknown_friends == ["who"]
    assert named.person.friends == (model.user(7),)


def test_nobody_is_their_own_friend(model):
    named = model.person(user=7, friends=("7", 8))
    assert (named.person.friends, named.num_friends) == ((model.user(8),), 1)


def test_who_names_many_friends_is_not_kept_in_memory():
    """A caller made 8,192 entries of 245 KB each."""
    people = KnownPeople(served("dlerse_con"))
    for count, kept in ((65, 0), (64, 1)):
        friends = tuple(f"somebody {number}" for number in range(count))
        found = people.person(user=None, friends=friends)
        assert found.unknown_friends == list(friends)
        assert people._cached_person.cache_info().currsize == kept


def test_reasons_name_friends_alone_whom_the_caller_named():
    recommender = served("friends")
    model, data = ServedModel(recommender, digest="friends"), recommender.dataset
    friend = int(np.argmax(data.num_likes))
    name = model.user_id(friend)
    liked = data.liked_items[slice(*data.like_offsets[friend : friend + 2])]

    def whole(item):  # a friend's name, said to whoever may hear all of them
        return recommender.explain(
            model.item_id(item), friends=[name], name_friends=True
        ).sentence

    said = f"{name}, whom you follow, likes it"
    item = next(int(item) for item in liked if said in whole(item))
    person = model.person(user=None, friends=(name,)).person
    assert model.explain(person, item, (name, 1000))[0] == whole(item)
    for reason in model.explain(person, item, ()):
        assert said not in reason and f"Without {name}" not in reason
    share = model._likes.num_likers[item] / np.count_nonzero(data.num_likes)
    last = model.explain(person, item)[-1]
    assert last == f"{100 * share:.2g}% of all users like it."


def test_similar_items_are_those_of_a_dense_cosine(model):
    data = served("dlerse_con").dataset
    likes = np.zeros((data.num_users, data.num_items))
    users = np.repeat(np.arange(data.num_users), data.num_likes)
    likes[users, data.liked_items] = 1
    norms = np.linalg.norm(likes, axis=0)
    for item in (0, 17):
        cosines = likes.T @ likes[:, item] / np.maximum(norms * norms[item], 1)
        cosines[item] = 0
        found = model.similar(item, 5)
        assert [value for _, value in found] == pytest.approx(np.sort(cosines)[:-6:-1])
        assert all(cosines[other] == pytest.approx(value) for other, value in found)


def test_a_model_that_answers_nonsense_fails_its_check(model, monkeypatch):
    check(model)
    rank = model.rank

    def broken(change):
        def ranked(questions):
            found = rank(questions)
            return [dataclasses.replace(r, **change(r, len(found))) for r in found]

        monkeypatch.setattr(model, "rank", ranked)
        with pytest.raises(ValueError, match="self-check"):
            check(model)

    broken(lambda ranked, size: {"items": ranked.items * 0})
    broken(lambda ranked, size: {"scores": ranked.scores[::-1]})
    broken(lambda ranked, size: {"scores": ranked.scores + size})
    broken(
        lambda ranked, size: {"items": ranked.items[:0], "scores": ranked.scores[:0]}
    )


def test_a_run_is_loaded_warmed_and_checked(monkeypatch):
    made = []
    monkeypatch.setattr(loading, "SIZES", (1,))
    monkeypatch.setattr(
        ServedModel, "forms", lambda self: [self.form(self.person(
            user=None, friends=()).person)]
    )  # fmt: skip
    monkeypatch.setattr(loading, "check", made.append)
    run = finished_run("dlerse_con")
    found = loading.load_model(run, seed=1)
    assert made == [found]
    assert found.digest == f"{files_digest(run)}.1"
    assert found.num_programs == 2  # begin, and more of a list
    assert len(files_digest(run)) == 16


def test_a_kept_program_is_handed_what_it_reads_and_says_the_same(
    model, tmp_path, monkeypatch
):
    kept = ServedModel(served("dlerse_con"), digest="kept", keep_programs=True)
    person = model.person(user=None, friends=(3, 7)).person
    question = Question(model=model, person=person, count=5, keep_state=True)
    former = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        (found,) = kept.rank([question])
    finally:
        jax.config.update("jax_compilation_cache_dir", former)
    (expected,) = model.rank([question])
    assert found.items.tolist() == expected.items.tolist()
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)
    assert found.state.tolist() == expected.state.tolist()
    programs = kept._programs
    (program,) = programs._programs.values()
    assert len(program.shared) < len(programs._leaves) / 4


def test_a_digest_is_of_the_files_a_model_is_made_of(tmp_path):
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    (tmp_path / "config.json").write_text("x")
    first = files_digest(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("grows")
    assert files_digest(tmp_path) == first
    (tmp_path / "checkpoints/3/state").write_text("x")
    assert files_digest(tmp_path) != first
