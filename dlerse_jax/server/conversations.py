"""Sessions: an item, an answer, the next item, for as long as somebody likes.

An answer is one compiled call, one committed write and one line in the log, in this
order; only then is it acknowledged. Where the log cannot be written the session is
written as it was before: the caller gets 503, and may answer again.
"""

import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from dlerse_jax.server import models
from dlerse_jax.server.cache import Held
from dlerse_jax.server.core import Core, event_head, tally
from dlerse_jax.server.errors import ApiError, busy, conflict, not_found
from dlerse_jax.server.lists import Asked, asked, question_of
from dlerse_jax.server.ranking import Model, Named, Question, Ranked
from dlerse_jax.server.store import Answer, SessionRecord, Shown, Stored, Tally

LOG = logging.getLogger(__name__)
TRIES = 5  # to write over somebody else's change of the same session


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A session as it is to become, and what is told of that."""

    record: SessionRecord
    events: tuple[dict[str, Any], ...] = ()
    tally: Tally | None = None
    renamed: bool = False  # it names other people


class Conversations:
    """What is done with sessions. owner: the name of the caller's key."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def open(
        self, request: models.Question, owner: str, once: str = ""
    ) -> SessionRecord:
        """A new session and its first item.

        once: a word of the caller's own for it; asked again with the same word, the
        session is the one that it began.
        """
        core, who, now = self._core, asked(request), time.time()
        session_id = core.session_id(owner, once)
        if once and (begun := await core.store.read(session_id)) is not None:
            return begun.record
        if core.num_sessions >= core.settings.most_sessions:
            raise busy("the server keeps no more sessions; old ones end by themselves")
        told = [
            Answer(item=item, title=_title(core.model, item), liked=liked)
            for item, liked in who.answers
        ]
        record = SessionRecord(
            session_id=session_id,
            owner=owner,
            user=who.user,
            friends=who.friends,
            personal=who.personal,
            created=now,
            expires=now,
            answers=tuple(told),
        )
        held = await self._advance(Change(record=record, renamed=True), None)
        if held is None:  # the same was asked at the same time, and was faster
            return (await self._read(session_id, owner)).record
        core.num_sessions += 1
        return held.record

    def content(self, record: SessionRecord) -> dict[str, Any]:
        """The session as it is told."""
        return models.session_content(record, self._core.model)

    async def get(self, session_id: str, owner: str) -> SessionRecord:
        return (await self._read(session_id, owner)).record

    async def answer(
        self, session_id: str, request: models.AnswerRequest, owner: str
    ) -> SessionRecord:
        """The session after an answer to the item that it showed.

        404 for another recommendation, 409 for one that was answered or replaced.
        """

        def change(record: SessionRecord) -> Change:
            self._check_waiting(record, request.recommendation_id)
            given = sum(bool(past.recommendation_id) for past in record.answers)
            if given >= self._core.settings.most_answers:  # not those told beforehand
                raise conflict(f"the session has its {given} answers; begin another")
            shown, liked = record.shown, request.liked
            answer = Answer(
                item=shown.item,
                title=shown.title,
                liked=liked,
                recommendation_id=shown.recommendation_id,
            )
            event = self._event("answered", record, answer)
            after = dataclasses.replace(record, answers=(*record.answers, answer))
            return Change(record=after, events=(event,), tally=tally(liked))

        record = await self._change(session_id, owner, change)
        self._core.metrics.answer(request.liked)
        return record

    async def undo(self, session_id: str, owner: str) -> SessionRecord:
        """The session without its last answer; 409 where there is none."""

        def change(record: SessionRecord) -> Change:
            if not record.answers:
                raise conflict("nothing was answered yet: there is nothing to undo")
            *answers, last = record.answers
            before = dataclasses.replace(record, answers=tuple(answers))
            if not last.recommendation_id:  # told beforehand, so never counted
                return Change(record=before)
            event = self._event("undone", before, last)
            return Change(record=before, events=(event,), tally=tally(last.liked, -1))

        return await self._change(session_id, owner, change)

    async def change(
        self, session_id: str, request: models.SessionChange, owner: str
    ) -> SessionRecord:
        """Other friends, or personal or not, from the next item on."""
        wanted: dict[str, Any] = {}
        if request.friends is not None:
            wanted["friends"] = tuple(request.friends)
        if request.personal is not None:
            wanted["personal"] = request.personal

        def change(record: SessionRecord) -> Change:
            after = dataclasses.replace(record, **wanted)
            return Change(record=after, renamed="friends" in wanted)

        return await self._change(session_id, owner, change)

    async def delete(self, session_id: str, owner: str) -> models.Deleted:
        """Forgets a session, in the log first: if that fails one may ask again."""
        core = self._core
        await self._read(session_id, owner)
        lines = await core.log.forget(session=session_id)
        core.cache.drop(session_id)
        is_gone = await core.store.delete(session_id)
        lines += await core.log.forget(session=session_id)  # answered meanwhile
        core.num_sessions -= is_gone
        return models.Deleted(sessions=int(is_gone), log_lines=lines)

    async def asked_in(self, session_id: str, owner: str) -> Asked:
        return _asked(await self.get(session_id, owner))

    # --- one change -------------------------------------------------------------------

    async def _change(
        self,
        session_id: str,
        owner: str,
        change: Callable[[SessionRecord], Change],
    ) -> SessionRecord:
        """Changes the session as it is in memory, else as it is in the store."""
        async for held, is_fresh in self._attempts(session_id, owner):
            try:
                wanted = change(held.record)
            except ApiError:
                if is_fresh:
                    raise
                continue
            if (new := await self._advance(wanted, held)) is not None:
                return new.record
        raise conflict("the session was changed elsewhere at the same time; read it")

    async def _attempts(
        self, session_id: str, owner: str
    ) -> AsyncIterator[tuple[Held, bool]]:
        held = self._core.cache.get(session_id)
        if held is not None and _is_open(held.record, owner):
            yield held, False
        for _ in range(TRIES):
            yield Held(stored=await self._read(session_id, owner)), True

    async def _read(self, session_id: str, owner: str) -> Stored:
        stored = await self._core.store.read(session_id)
        if stored is None or not _is_open(stored.record, owner):
            raise not_found("no session of this id; it may have expired")
        return stored

    async def _advance(self, change: Change, held: Held | None) -> Held | None:
        """Finds the next item and commits all; None where somebody was faster."""
        core, record = self._core, change.record
        model = core.model
        question, named = await self._question(model, record, held)
        ranked = await core.rank(question)
        shown, events = self._show(model, record, named, ranked)
        expires = time.time() + core.settings.session_seconds
        record = dataclasses.replace(record, shown=shown, expires=expires)
        expected = held.stored.version if held else 0
        if not await core.store.write(
            record, expected, change.tally, renamed=change.renamed
        ):
            core.cache.drop(record.session_id)
            return None
        if events := [*change.events, *events]:
            try:
                await core.log.append(events)
            except Exception:
                await self._take_back(change, held)
                raise
        new = Held(
            stored=Stored(record, expected + 1),
            model=model.digest,
            state=ranked.state,
            named=named,
        )
        core.cache.put(new)
        return new

    async def _take_back(self, change: Change, held: Held | None) -> None:
        """Writes the session as it was before a change that could not be logged."""
        store, session_id = self._core.store, change.record.session_id
        is_back = False
        try:
            if held is None:
                is_back = await store.delete(session_id)
                return
            (record, version), sums = held.stored, change.tally
            back = sums and Tally(sums.day, -sums.liked, -sums.answers)
            is_back = await store.write(
                record, version + 1, back, renamed=change.renamed
            )
        finally:
            if not is_back:
                LOG.error("a session has an item or an answer that the log lacks")

    async def _question(
        self, model: Model, record: SessionRecord, held: Held | None
    ) -> tuple[Question, Named]:
        """One step from the state in memory where that is the session before its last
        answer; else from the beginning.
        """
        core, who = self._core, _asked(record)
        more: dict[str, Any] = {"count": core.num_ranked(1)}
        if held is None or not _is_one_step(model, record, held):
            more["keep_state"] = record.personal
            return await question_of(core, model, who, **more)
        item, liked = who.answers[-1]
        person = held.named.person.with_answer(model.item(item), liked)
        named = dataclasses.replace(held.named, person=person)
        more |= {"state": held.state, "keep_state": True}
        return Question(model=model, person=named.person, **more), named

    def _show(
        self, model: Model, record: SessionRecord, named: Named, ranked: Ranked
    ) -> tuple[Shown | None, list[dict[str, Any]]]:
        """The next item, and the log's line about it; nothing where none is left."""
        core = self._core
        choice = core.choose(model, ranked, 1)
        if not choice.items:
            return None, []
        list_id = core.list_id(of_session=True)
        shown = Shown(
            recommendation_id=list_id,
            item=choice.items[0],
            title=choice.titles[0],
            score=choice.scores[0],
            chance=choice.chances[0],
            propensity=choice.propensities[0],
        )
        event = core.shown_event(
            model,
            ranked,
            choice,
            1,
            recommendation_id=list_id,
            session=record.session_id,
            subject=core.subject(record.user),
            num_friends=named.num_friends,
            step=len(record.answers),
            personal=record.personal,
        )
        return shown, [event]

    def _event(
        self, kind: str, record: SessionRecord, answer: Answer
    ) -> dict[str, Any]:
        """The log's line about an answer, record: before it."""
        return {
            **event_head(kind, self._core.model.digest),
            "recommendation_id": answer.recommendation_id,
            "session": record.session_id,
            "subject": self._core.subject(record.user),
            "item": answer.item,
            "position": 0,
            "liked": answer.liked,
            "step": len(record.answers),
        }

    def _check_waiting(self, record: SessionRecord, list_id: str) -> None:
        """ApiError where this is not the item that waits for an answer."""
        if record.shown is not None and record.shown.recommendation_id == list_id:
            return
        for answer in record.answers:
            if list_id and answer.recommendation_id == list_id:
                said = "liked" if answer.liked else "disliked"
                raise conflict(
                    f"{answer.title!r} was answered before ({said}); GET the session "
                    "for the item that waits now"
                )
        if self._core.is_ours(list_id):
            raise conflict(
                "this item is no longer asked about; GET the session for the item "
                "that waits now"
            )
        raise not_found("the session has shown nothing of this recommendation_id")


def _asked(record: SessionRecord) -> Asked:
    return Asked(
        user=record.user,
        friends=record.friends,
        answers=tuple((answer.item, answer.liked) for answer in record.answers),
        personal=record.personal,
    )


def _is_open(record: SessionRecord, owner: str) -> bool:
    return record.owner == owner and record.expires > time.time()


def _is_one_step(model: Model, record: SessionRecord, held: Held) -> bool:
    """Whether the state in memory lacks the last answer and nothing else."""
    return (
        held.state is not None
        and held.model == model.digest
        and (record.personal, record.friends) == (True, held.record.friends)
        and len(record.answers) == len(held.record.answers) + 1
        and model.item(record.answers[-1].item) is not None
    )


def _title(model: Model, item: Any) -> str:
    index = model.item(item)
    return str(item) if index is None else model.title(index)
