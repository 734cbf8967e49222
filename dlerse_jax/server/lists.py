"""Lists for one request each, people who are added or forgotten, and reasons."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from dlerse_jax.server import models
from dlerse_jax.server.core import Choice, Core, event_head, tally
from dlerse_jax.server.errors import ApiError, conflict, not_found
from dlerse_jax.server.ranking import Model, Named, Question
from dlerse_jax.server.store import Id, name_of


class Asked(NamedTuple):
    """For whom, as a request or a session says it."""

    user: Id | None
    friends: tuple[Id, ...] | None
    answers: tuple[tuple[Id, bool], ...]
    personal: bool


def asked(request: models.Question) -> Asked:
    """422 for an item with two answers."""
    friends = None if request.friends is None else tuple(request.friends)
    if not request.liked and not request.disliked:
        return Asked(request.user, friends, (), request.personal)
    answers = [(item, True) for item in request.liked]
    answers += [(item, False) for item in request.disliked]
    names = [name_of(item) for item, _ in answers]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ApiError(422, f"item {twice!r} is in liked and disliked more than once")
    return Asked(request.user, friends, tuple(answers), request.personal)


async def question_of(core: Core, model: Model, who: Asked, **more: Any) -> Any:
    """(question, named): by index, with the ties that were added here."""
    added: tuple[str, ...] = ()
    if who.user is not None and who.friends is None:
        added = await core.store.friends(name_of(who.user)) or ()
    named = model.person(
        user=who.user, friends=who.friends, added=added, answers=who.answers
    )
    return Question(model=model, **_heard(model, who, named, more)), named


def _heard(model: Model, who: Asked, named: Named, more: dict[str, Any]) -> dict:
    """What the model hears of somebody: nothing where it is not to be personal."""
    if who.personal:
        return {"person": named.person, **more}
    person = named.person
    nobody = model.person(user=None, friends=()).person
    left_out = (*more.pop("left_out", ()), *person.items, *person.past)
    return {"person": nobody, "left_out": left_out, **more}


class Lists:
    """What needs no session."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def recommend(self, request: models.RecommendRequest) -> dict[str, Any]:
        """The best items for one person, logged with their propensities.

        The content of a `models.RecommendAnswer`.
        """
        core, who, k = self._core, asked(request), request.k
        model = core.model
        exclude, unknown = known_items(model, request.exclude)
        only = None
        if request.only is not None:
            only, more = known_items(model, request.only)
            unknown += more
        question, named = await question_of(
            core, model, who, left_out=exclude, only=only, count=core.num_ranked(k)
        )
        ranked = await core.rank(question)
        choice = core.choose(model, ranked, k)
        list_id = core.list_id()
        event = core.shown_event(
            model,
            ranked,
            choice,
            k,
            recommendation_id=list_id,
            session="",
            subject=core.subject(who.user),
            num_friends=named.num_friends,
            step=len(who.answers),
            personal=who.personal,
        )
        await core.log.append([event])
        return {
            "recommendation_id": list_id,
            "model": model.digest,
            "items": named_items(choice),
            "unknown_friends": named.unknown_friends,
            "unknown_items": [*named.unknown_items, *unknown],
        }

    async def answer(self, list_id: str, request: models.ListAnswerRequest) -> None:
        """An answer to an item of a list; a second one is a conflict.

        404 for an item that the model does not know. That the list had it is not
        checked: lists are in the log alone. 503 where it cannot be logged: then it may
        be sent again.
        """
        core = self._core
        if not core.is_ours(list_id):
            raise not_found("no list has this recommendation_id")
        if core.is_of_session(list_id):
            raise not_found("a session has this recommendation_id: answer it there")
        index = core.model.item(request.item)
        if index is None:
            raise not_found(f"the model does not know item {name_of(request.item)!r}")
        item_id = core.model.item_id(index)
        item = name_of(item_id)
        expires = time.time() + core.settings.session_seconds
        if not await core.store.claim(list_id, item, expires):
            raise conflict(f"item {item!r} of this list was answered before")
        event = {
            **event_head("answered", core.model.digest),
            "recommendation_id": list_id,
            "session": "",
            "subject": "",
            "item": item_id,
            "liked": request.liked,
        }
        try:
            await core.log.append([event])
        except Exception:
            await core.store.release(list_id, item)
            raise
        await core.store.add_tally(tally(request.liked))
        core.metrics.answer(request.liked)

    async def explain(self, who: Asked, item: Id) -> models.Explanation:
        """Why the item: sentences that name nobody whom the caller did not name."""
        model = self._core.model
        index = model.item(item)
        if index is None:
            raise not_found(f"the model does not know item {name_of(item)!r}")
        question, named = await question_of(self._core, model, who)
        person = question.person
        if index in person.items:
            raise conflict(f"{model.title(index)!r} was answered: ask of another item")
        reasons = await self._core.aside(
            lambda: model.explain(person, index, who.friends or ())
        )
        return models.Explanation(
            item=model.item_id(index),
            title=model.title(index),
            reasons=reasons,
            unknown_friends=named.unknown_friends,
            unknown_items=named.unknown_items,
        )

    def similar(self, item: Id, k: int) -> list[models.Similar]:
        model = self._core.model
        index = model.item(item)
        if index is None:
            raise not_found(f"the model does not know item {name_of(item)!r}")
        return [
            models.Similar(
                item=model.item_id(other), title=model.title(other), similarity=value
            )
            for other, value in model.similar(index, k)
        ]

    def search_users(self, prefix: str, most: int) -> list[Id]:
        if not self._core.settings.demo:
            raise not_found("searching for users is off; `dlerse serve --demo` has it")
        return self._core.model.search_users(prefix, most)

    # --- people -----------------------------------------------------------------------

    async def add_friends(
        self, user: Id, friends: list[Id], *, replace: bool
    ) -> models.FriendsAnswer:
        """Ties of somebody, in use from the next question on, in open sessions too."""
        core, name = self._core, name_of(user)
        model = core.model
        names = dict.fromkeys(name_of(friend) for friend in friends)
        names.pop(name, None)
        most = models.MOST_FRIENDS
        kept = await core.store.add_friends(name, names, replace=replace, most=most)
        if kept is None:
            raise ApiError(409, f"{name!r} would have more than {most} friends")
        for session_id in await core.store.sessions_of(name):
            core.cache.drop(session_id)
        known = sum(model.user(friend) is not None for friend in kept)
        return models.FriendsAnswer(friends=len(kept), known=known)

    async def forget(self, user: Id) -> models.Deleted:
        """Removes somebody: ties, sessions, lines of the log; the model knows them no
        longer by their id. What it learned from them stays until it is trained anew.
        """
        core, name = self._core, name_of(user)
        subject = core.subject(name)
        await core.store.forget(name, subject)
        sessions = await core.store.sessions_of(name)
        for session_id in sessions:
            await self._without(session_id, name)
        await core.hide_forgotten(core.model)
        lines = await core.log.forget(subject=subject)
        return models.Deleted(sessions=len(sessions), log_lines=lines)

    async def _without(self, session_id: str, name: str) -> None:
        """Deletes a session of somebody, or takes them out of another's friends."""
        store = self._core.store
        while (stored := await store.read(session_id)) is not None:
            record = stored.record
            is_own = record.user is not None and name_of(record.user) == name
            if is_own or record.friends is None:
                await store.delete(session_id)
                return
            friends = tuple(one for one in record.friends if name_of(one) != name)
            record = dataclasses.replace(record, friends=friends)
            if await store.write(record, stored.version, renamed=True):
                return


def known_items(model: Model, items: Sequence[Id]) -> tuple[tuple[int, ...], list[Id]]:
    """Indices of the items that the model knows, and the ids of the others."""
    if not items:
        return (), []
    pairs = [(item, model.item(item)) for item in items]
    known = tuple(index for _, index in pairs if index is not None)
    return known, [item for item, index in pairs if index is None]


def named_items(choice: Choice) -> list[dict[str, Any]]:
    """Contents of `models.Item`."""
    return [
        {
            "item": item,
            "title": title,
            "score": score,
            "chance": chance,
            "propensity": propensity,
            "position": position,
        }
        for position, (item, title, score, chance, propensity) in enumerate(
            zip(*choice, strict=True)
        )
    ]
