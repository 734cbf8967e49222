"""A conversation: one step per answer, taken back, saved and taken up again."""

import jax
import numpy as np
import pytest
from served import served


@pytest.fixture(params=["linear", "dlerse_con"])
def recommender(request):
    return served(request.param)


def close(ours, theirs):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
        *(
            [
                leaf
                for leaf in jax.tree.leaves(tree)
                if leaf.dtype in ("float32", "int32")
            ]
            for tree in (ours, theirs)
        ),
    )


def talk(session, answers):
    for liked in answers:
        session.answer(session.next().item, liked)
    return session


def test_answers_one_by_one_are_answers_at_once(recommender):
    session = talk(recommender.session(user=3), (True, False, True))
    person = session.person
    assert [liked for _, liked in session.answers] == [True, False, True]
    together = recommender.start([person], recommender.session(user=3)._key[None])
    close(session.state, jax.tree.map(lambda leaf: leaf[0], together))


def test_undo_takes_the_last_answer_back(recommender):
    session = talk(recommender.session(user=3), (True,))
    before, shown = session.state, session.next()
    talk(session, (False,)).undo()
    assert session.next() == shown and len(session.answers) == 1
    close(session.state, before)
    session.undo()
    with pytest.raises(ValueError, match="nothing was answered yet"):
        session.undo()


def test_undo_reaches_back_beyond_what_is_kept(recommender):
    session = recommender.session(user=3)
    shown = []
    for _ in range(12):
        shown.append(session.next().item)
        session.answer(shown[-1], liked=False)
    for _ in shown[4:]:
        session.undo()
    assert session.next().item == shown[4]


def test_a_saved_session_goes_on_as_if_nothing_had_been(recommender):
    session = talk(recommender.session(user=3), (True, False))
    resumed = recommender.resume(session.to_bytes())
    assert resumed.answers == session.answers
    close(resumed.state, session.state)
    assert resumed.next() == session.next()
    for each in (session, resumed):
        each.undo()
    assert resumed.next().item == session.next().item


def test_a_session_with_another_agent_is_refused():
    saved = served("linear").session(user=3).to_bytes()
    with pytest.raises(ValueError, match="the session is one with linear, of another"):
        served("dlerse_con").resume(saved)


@pytest.mark.parametrize("content", [b"", b"PK", b"none", "cut"], ids=str)
def test_what_is_no_whole_session_is_refused_in_one_line(content):
    linear = served("linear")
    if content == "cut":
        content = linear.session(user=3).to_bytes()[:-9]
    with pytest.raises(ValueError, match="no whole session of Session.to_bytes"):
        linear.resume(content)


@pytest.mark.parametrize("liked", ["no", None, 0.5, [True]], ids=repr)
def test_an_answer_is_true_or_false(liked):
    session = served("linear").session(user=3)
    with pytest.raises(ValueError, match="liked must be True or False, got"):
        session.answer(session.next().item, liked=liked)
    assert session.answers == []
    session.answer(session.next().item, liked=np.bool_(False))
    assert [liked for _, liked in session.answers] == [False]


def test_a_skipped_item_is_passed_over_and_may_come_back(recommender):
    session = recommender.session(user=3)
    first = session.next()
    second = session.next(skip=(first.item,))
    assert second.item != first.item and session.next() == first
    session.answer(second.item, liked=True)
    assert session.next().item != second.item


def test_an_item_is_answered_once(recommender):
    session = talk(recommender.session(user=3), (True,))
    ((item, _),) = session.answers
    with pytest.raises(ValueError, match="was answered before; undo"):
        session.answer(item, liked=False)
    with pytest.raises(ValueError, match="the data set has no item 'none'"):
        session.answer("none", liked=False)


def test_a_session_outlasts_the_agents_memory_and_the_catalogue():
    """The agent was made for 6 answers; the world has 60 items."""
    recommender = served("dlerse_con")
    user = int(recommender.dataset.split.test[0])
    session, shown = recommender.session(user=user), set()
    while (found := session.next()) is not None:
        assert found.item not in shown
        shown.add(found.item)
        session.answer(found.item, liked=len(shown) % 3 == 0)
    assert len(shown) == 60
