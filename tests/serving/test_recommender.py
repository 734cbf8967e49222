"""A trained agent answers questions in the data's own ids, and says what it cannot."""

import dataclasses
import warnings

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from served import finished_run, served
from worlds import make_world

from dlerse_jax.serving.names import UnknownId
from dlerse_jax.serving.people import LikesNotKept, Person, past_of, warn_unkept
from dlerse_jax.serving.recommender import Recommender


@pytest.fixture(scope="module")
def linear() -> Recommender:
    """An agent without learning that reads friends and answers."""
    return served("linear")


@pytest.fixture
def known_user(linear):
    """A training user with a past, and their likes as ids."""
    user = int(np.argmax(linear.dataset.num_likes))
    first, end = linear.dataset.like_offsets[user : user + 2]
    return user, set(linear.dataset.liked_items[first:end].tolist())


def ids(recommendations):
    return [found.item for found in recommendations]


def test_the_best_items_come_first_and_none_twice(linear):
    found = linear.recommend(user=0, k=60 - linear.dataset.num_likes[0])
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert len(set(ids(found))) == len(found)
    assert ids(linear.recommend(user=0, k=3)) == ids(found)[:3]
    assert ids(found)[0] == linear.session(user=0).next().item


def test_what_was_answered_liked_before_or_excluded_is_not_shown(linear, known_user):
    user, past = known_user
    every = linear.recommend(user=user, k=60)
    assert set(ids(every)) == set(range(60)) - past
    left = linear.recommend(
        user=user,
        liked=ids(every)[:2],
        disliked=ids(every)[2:3],
        exclude=[ids(every)[3]],
        k=60,
    )
    assert set(ids(left)) == set(ids(every)[4:])
    few = ids(every)[5:8]
    assert set(ids(linear.recommend(user=user, only=few))) == set(few)


def test_a_known_past_and_answers_change_what_is_shown(linear, known_user):
    test_user = linear.dataset.split.test[0]
    before = linear.recommend(user=test_user, k=60)
    last = before[-1].item
    after = ids(linear.recommend(user=test_user, liked=[last], k=60))
    assert after != [item for item in ids(before) if item != last]
    user, _ = known_user
    person = linear.person(user=user)
    forgotten = dataclasses.replace(person, past=())
    allowed = linear.allowed(person)[None]
    assert linear.top([person], allowed, 9) != linear.top([forgotten], allowed, 9)


def test_nothing_says_which_of_a_users_likes_came_first():
    """They stand by index: an order that an agent would read as one of time."""
    world = make_world(np.ones((2, 50)))
    past, other = (past_of(world, user) for user in range(2))
    assert sorted(past) == list(range(50)) and past != other
    assert 10 < (np.diff(past) > 0).sum() < 39
    assert past_of(world, 0) == past


def test_ids_may_be_text_or_numpy_or_whole_floats(linear):
    expected = linear.recommend(user=5, liked=[3])
    for user, item in (("5", " 3 "), (np.int32(5), np.int64(3)), (5.0, 3.0)):
        assert linear.recommend(user=user, liked=[item]) == expected


@pytest.mark.parametrize("part", ["test", "validation"])
def test_a_user_whose_likes_are_not_kept_is_warned_about(linear, part):
    user = int(getattr(linear.dataset.split, part)[0])
    words = rf"likes of user {user} are not kept \({part} user\): name them in liked or"
    for question in ({}, {"friends": [0]}, {"disliked": [3]}):
        with pytest.warns(LikesNotKept, match=words) as said:
            linear.recommend(user=user, **question)
        assert len(said) == 1 and said[0].filename == __file__
    with pytest.warns(LikesNotKept, match=words) as said:
        linear.recommend_many([{"user": user}, {"user": 0}, {}])
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear.recommend(user=user, liked=[3])
        linear.recommend(user=user, exclude=np.array([3]))
        linear.session(user=user)
        some_kept = Person(user=user, past=(3,))
        warn_unkept(linear.names, linear.dataset, some_kept, ())
        linear.explain(3, user=user)  # as a server does for each request


def test_ids_of_jax_are_ids(linear):
    asked = {"friends": [0, 1], "liked": [5]}
    ours = {name: jnp.array(ids) for name, ids in asked.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert linear.recommend(**ours) == linear.recommend(**asked)


def test_unknown_ids_are_named_and_the_rest_is_used(linear):
    with pytest.warns(UnknownId, match="liked: items .* left out: 'nothing', 3.5, 999"):
        found = linear.recommend(user=5, liked=["nothing", 3.5, 3, 999])
    assert found == linear.recommend(user=5, liked=[3])
    with pytest.warns(UnknownId, match="'a', 'b', 'c', 'd', 'e' and 2 more"):
        linear.recommend(user=5, exclude=list("abcdefg"))


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ({"k": 0}, "k must be between 1 and the 60 items of the data set, got 0"),
        ({"k": -3}, "k must be between 1 and the 60"),
        ({"k": 61}, "k must be between 1 and the 60"),
        ({"k": 2.5}, "k must be between 1 and the 60"),
        ({"liked": [3, 4], "disliked": [5, 4]}, "'4' is both liked and disliked"),
        ({"exclude": range(60)}, "no item is left to recommend"),
        ({"only": []}, "no item is left to recommend"),
        ({"friends": "ann"}, "friends must be a list of ids, got 'ann'"),
        ({"liked": 3}, "liked must be a list of ids, got '3'"),
        ({"liked": np.array(3)}, "liked must be a list of ids, got '3'"),
    ],
    ids=str,
)
def test_bad_questions_are_refused_in_one_line(linear, question, problem):
    before = linear.player.num_programs
    with pytest.raises(ValueError, match=problem) as refused:
        linear.recommend(user=0, **question)
    assert "\n" not in str(refused.value)
    assert linear.player.num_programs == before  # nothing was compiled for it


def test_many_questions_are_answered_as_one_by_one(linear):
    questions = [{"user": user, "liked": [user % 7]} for user in range(70)]
    found = linear.recommend_many(questions, k=4)
    for row in (0, 1, 63, 64, 69):
        alone = linear.recommend(**questions[row], k=4)
        assert ids(found[row]) == ids(alone)
        assert [x.score for x in found[row]] == pytest.approx([x.score for x in alone])
    assert linear.recommend_many([]) == []


def test_a_data_frame_is_answered_with_one(linear):
    frame = pl.DataFrame(
        {"user": [4, 9], "liked": [[3, 1], None], "exclude": ["5, 6", ""]}
    )
    found = linear.recommend_many(frame, k=2)
    assert isinstance(found, pl.DataFrame)
    expected = [
        *linear.recommend(user=4, liked=[3, 1], exclude=[5, 6], k=2),
        *linear.recommend(user=9, k=2),
    ]
    assert found["question"].to_list() == [0, 0, 1, 1]
    assert found["user"].to_list() == [4, 4, 9, 9]
    assert found["rank"].to_list() == [1, 2, 1, 2]
    assert found["item"].to_list() == ids(expected)
    assert found["title"].to_list() == [x.title for x in expected]
    assert found.columns == [
        "question",
        "user",
        "rank",
        "item",
        "title",
        "score",
        "chance",
    ]


@pytest.mark.parametrize(
    ("questions", "problem"),
    [
        ([{"usr": 3}], "question 0 has 'usr', expected some of user, friends, liked"),
        ([{}, 7], "question 1 is a int, expected a dict"),
        ("text", "questions are a str, expected a list of dicts or a data frame"),
        ({"user": 3}, "questions are a dict, expected a list of dicts"),
    ],
)
def test_questions_that_are_none_are_refused(linear, questions, problem):
    with pytest.raises(ValueError, match=problem):
        linear.recommend_many(questions)


def test_other_numbers_of_answers_and_people_compile_nothing(linear):
    def ask(count, people=3):
        question = {
            "user": 0,
            "liked": range(20, 20 + count),
        }  # others' past may be long
        questions = [question] * people
        linear.recommend_many(questions, k=5)

    ask(7)
    before = linear.player.num_programs
    for count in (1, 5, 8):
        ask(count)
    ask(2, people=4)
    assert linear.player.num_programs == before
    ask(9)  # the next bucket is another program
    assert linear.player.num_programs > before


def test_a_chance_is_given_where_a_score_is_one():
    found = served("dlerse_rank").recommend(user=0, k=5)
    for each in found:
        assert each.chance == pytest.approx(1 / (1 + np.exp(-each.score)), abs=1e-5)
    assert all(x.chance is None for x in served("linear").recommend(user=0))
    # Two updates of Q-learning were selected: no chance any more.
    assert served("dlerse_con").recommend(user=0)[0].chance is None


def test_another_seed_is_another_agent():
    first, second = (served("dlerse_con", seed) for seed in (0, 1))
    assert first.recommend(user=0, k=5) != second.recommend(user=0, k=5)
    with pytest.raises(ValueError, match="seed is 2, and the run has seeds 0 to 1"):
        Recommender.load(finished_run("dlerse_con"), seed=2)
    for seed in (0.0, False):
        with pytest.raises(ValueError, match=f"seed is {seed}, and the run has seeds"):
            Recommender.load(finished_run("dlerse_con"), seed=seed)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run directory; make one"):
        Recommender.load(tmp_path / "nothing")
    run = finished_run("linear")
    with pytest.raises(
        FileNotFoundError, match=rf"of \d+ runs: name one .* {run.parent}/"
    ):
        Recommender.load(run.parent)


def test_no_warning_where_all_is_known(linear):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear.recommend(user=1, liked=[2], disliked=[4], exclude=[5])
