"""Lists that are searched for are those of all scores, whatever may be shown."""

import dataclasses

import numpy as np
import pytest
from served import finished_run

from dlerse_jax.experiment.restore import restore_trained
from dlerse_jax.server import forms
from dlerse_jax.server import served as served_model
from dlerse_jax.server.forms import LEFT_OUT, ONLY
from dlerse_jax.server.ranking import Question
from dlerse_jax.server.served import ServedModel
from dlerse_jax.serving import player
from dlerse_jax.serving.recommender import Recommender


@pytest.fixture(scope="module")
def recommender():
    """Of an agent whose scores count as chances, for which answers are handed over."""
    restored = restore_trained(finished_run("dlerse_con"), to_serve=True)
    place = {"phase": "pretrain", "update": 1}
    selected = (place,) * restored.num_seeds
    return Recommender(dataclasses.replace(restored, selected=selected))


@pytest.fixture(scope="module")
def models(recommender):
    """One that sorts all scores, and one that searches."""
    with pytest.MonkeyPatch.context() as patch:
        sorting = ServedModel(recommender, digest="sorts")
        patch.setattr(player, "LARGE_CATALOGUE", 1)
        return sorting, ServedModel(recommender, digest="searches")


def questions_of(model, **more):
    people = [
        model.person(user=None, friends=()).person,
        model.person(user=None, friends=(3, 7), answers=((2, True), (5, False))).person,
        model.person(user=4, friends=None).person,
    ]
    return [Question(model=model, person=person, **more) for person in people]


def assert_alike(found, expected, count):
    for one, other in zip(found, expected, strict=True):
        assert one.items[:count].tolist() == other.items[:count].tolist()
        assert one.scores[:count] == pytest.approx(other.scores[:count], abs=1e-5)
        assert one.chances[:count] == pytest.approx(other.chances[:count], abs=1e-5)


@pytest.mark.parametrize(
    "more",
    [
        {"count": 10},
        {"count": 10, "left_out": (1, 6, 8)},
        {"count": 60},
        {"count": 10, "only": (9, 3, 4, 9, 2)},
        {"count": 3, "only": (9, 3, 4, 2), "left_out": (3,)},
    ],
    ids=str,
)
def test_a_large_catalogue_gives_the_lists_of_all_scores(models, more):
    sorting, searching = models
    expected = sorting.rank(questions_of(sorting, **more))
    found = searching.rank(questions_of(searching, **more))
    assert [len(one.items) for one in found] == [len(one.items) for one in expected]
    assert_alike(found, expected, more["count"])


def test_what_a_common_call_has_no_places_for_is_left_out_too(models, monkeypatch):
    for module in (forms, served_model):
        monkeypatch.setattr(module, "LEFT_OUT", (2, 64))
    sorting, searching = models
    more = {"count": 10, "left_out": (1, 6, 8)}
    assert searching.form_of(questions_of(searching, **more)[0]).begins_without_list
    found = searching.rank(questions_of(searching, **more))
    assert_alike(found, sorting.rank(questions_of(sorting, **more)), 10)


def test_a_session_in_a_large_catalogue_is_that_of_all_scores(models):
    steps = [
        [dataclasses.replace(question, count=5, keep_state=True)]
        for model in models
        for question in questions_of(model)[:1]
    ]
    for number in range(4):
        lists = [model.rank(step) for model, step in zip(models, steps, strict=True)]
        assert_alike(*lists, 5)
        item = int(lists[0][0].items[0])
        steps = [
            [
                dataclasses.replace(
                    step[0],
                    person=step[0].person.with_answer(item, number % 2 == 0),
                    state=found[0].state,
                )
            ]
            for step, found in zip(steps, lists, strict=True)
        ]


def test_a_question_finds_places_for_all_that_it_leaves_out(models):
    _, searching = models
    person = searching.person(user=None, friends=()).person

    def places(**more):
        form = searching.form_of(Question(model=searching, person=person, **more))
        return form.left_out, form.only

    small, large = LEFT_OUT
    assert places() == places(left_out=tuple(range(small))) == (small, 0)
    assert places(left_out=tuple(range(small + 1))) == (large, 0)
    assert places(left_out=tuple(range(large + 1)))[0] > large
    assert places(only=(1,)) == (small, ONLY[0])
    assert places(only=tuple(range(ONLY[0] + 1))) == (small, ONLY[1])
    forms = searching.forms()
    assert {form.left_out for form in forms} == set(LEFT_OUT)
    assert {form.only for form in forms} == {0, *ONLY}


def test_a_small_catalogue_is_sorted(models):
    sorting, _ = models
    (question, *_) = questions_of(sorting)
    assert not sorting.form_of(question).left_out
    assert np.asarray(sorting._allowed([question], sorting.form_of(question), 1)).all()


def test_chances_leave_out_all_that_was_answered(models, recommender):
    """However many: a call has places for few answers, or for many."""
    person = recommender.person(friends=[3, 7], liked=list(range(5, 40)))
    (expected,) = recommender.top([person], recommender.allowed(person)[None], 5)
    for model in models:
        question = Question(model=model, person=person, count=5)
        assert model.form_of(question).answered > len(person.items)
        (found,) = model.rank([question])
        chances = [item.chance for item in expected]
        assert found.chances[:5] == pytest.approx(chances, abs=1e-5)


def test_blocks_that_lists_are_made_of_hold_items_by_index(recommender):
    """Equal scores would come in another order otherwise."""
    _, context = recommender.player.parts.shared
    assert (np.diff(context.catalogue.items, axis=-1) >= 0).all()
