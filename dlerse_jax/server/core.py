"""What lists and sessions share: the model in use, the batch thread, lines to log."""

import asyncio
import functools
import hashlib
import hmac
import itertools
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlerse_jax.runtime.messages import one_line
from dlerse_jax.server.batching import Batcher, LoopBatcher
from dlerse_jax.server.cache import SessionCache
from dlerse_jax.server.errors import busy
from dlerse_jax.server.events import EventLog
from dlerse_jax.server.exploration import draw
from dlerse_jax.server.metrics import ServerMetrics
from dlerse_jax.server.ranking import Model, Question, Ranked
from dlerse_jax.server.settings import Settings
from dlerse_jax.server.store import Id, Store, Tally, open_store, pseudonym

LOG = logging.getLogger(__name__)
SESSION = "s"  # behind the hexadecimal number of a list that is one item of a session
LOOK_SECONDS = 1.0  # between looks at who was forgotten in other processes
SIGNATURE = 6  # bytes of a recommendation's id that say it is ours


class Choice(NamedTuple):
    """What is shown of what was ranked, position by position."""

    items: list[Id]
    titles: list[str]
    scores: list[float]
    chances: list[float | None]  # of a like, where the agent has one
    propensities: list[float]  # chance of being shown there


class Core:
    """The parts of a running server. `open_core` makes one."""

    def __init__(
        self, settings: Settings, store: Store, secret: bytes, metrics: ServerMetrics
    ) -> None:
        self.settings, self.store, self.metrics = settings, store, metrics
        self.log = EventLog(
            settings.events,
            most_bytes=settings.event_bytes,
            keep_days=settings.event_days,
        )
        self.cache = SessionCache(settings.cached_bytes)
        self.num_sessions = 0
        self._secret, self._slow = secret, asyncio.Lock()
        self._model: Model | None = None
        self._hidden: tuple[Model | None, int] = (None, 0)  # in which model, how many
        self._no_number = ""  # digest of the model that gave no chances
        self._name, self._numbers = secrets.token_hex(6), itertools.count()
        self._rng = np.random.default_rng(settings.seed)
        self._batcher: Batcher[Question, Ranked] = Batcher(
            answer_batch, name="model", seen=metrics.batch
        )
        self._quick: LoopBatcher[Question, Ranked] = LoopBatcher(
            answer_batch, seen=metrics.batch
        )

    async def close(self) -> None:
        self._batcher.close()
        self.log.close()
        await self.store.close()

    # --- the model --------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        return self._model is not None

    @property
    def model(self) -> Model:
        """The model in use; 503 before the first one is compiled."""
        if self._model is None:
            raise busy("the model is being loaded; /ready says when it is there")
        return self._model

    async def use(self, model: Model) -> None:
        """From now on questions are asked of this model; earlier ones are finished."""
        await self.hide_forgotten(model)
        self._model = model
        self.metrics.model(model.digest)

    async def hide_forgotten(self, model: Model) -> None:
        """Users whom the server was told to forget count as unknown, in sessions in
        memory, too, and what they were called is overwritten in the store.
        """
        await self.store.overwrite()
        gone = await self.store.forgotten()
        if gone:
            await asyncio.to_thread(model.hide, lambda user: self.subject(user) in gone)
        self._hidden = (model, len(gone))
        self.cache.clear()
        # An answer that was being found meanwhile puts back whom its session named.
        loop = asyncio.get_running_loop()
        loop.call_later(self.settings.answer_seconds, self.cache.clear)

    async def learn_forgotten(self) -> None:
        """Hides, for as long as it runs, those whom another process was told to."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                gone = await self.store.num_forgotten()
                if self._model and (self._model, gone) != self._hidden:
                    await self.hide_forgotten(self._model)
            except Exception as error:
                LOG.error("who is forgotten cannot be read: %s", one_line(error))

    def rank(self, question: Question) -> Awaitable[Ranked]:
        """What is best; in the event loop if that takes next to nothing."""
        if question.model.is_quick:
            return self._quick.ask(question)
        return self._in_time(self._batcher.ask(question))

    async def aside(self, function: Callable[[], Any]) -> Any:
        """A slow function's result, one at a time and beside the batches."""
        async with self._slow:
            return await self._in_time(asyncio.to_thread(function))

    async def _in_time(self, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self.settings.answer_seconds):
                return await answer
        except TimeoutError:
            raise busy("the answer took too long; try again in a second") from None

    # --- what is shown ----------------------------------------------------------------

    def num_ranked(self, k: int) -> int:
        """How many ranked items a list of k is drawn from."""
        return max(k, self.settings.candidates)

    def choose(self, model: Model, ranked: Ranked, k: int) -> Choice:
        """Draws a list; it is short where fewer items are left."""
        count = self.num_ranked(k)
        places, propensities = draw(
            self.settings.exploration, ranked.scores[:count], k, self._rng
        )
        items = ranked.items[places].tolist()
        return Choice(
            [model.item_id(item) for item in items],
            [model.title(item) for item in items],
            ranked.scores[places].tolist(),
            self._chances(model, ranked, places),
            propensities.tolist(),
        )

    def _chances(self, model: Model, ranked: Ranked, places: Any) -> list[float | None]:
        """Chances of a like; None where the agent has none, or says no number."""
        if ranked.chances is None:
            return [None] * len(ranked.items[places])
        chances = ranked.chances[places].tolist()
        if all(map(math.isfinite, chances)):
            return chances
        self.metrics.no_chance()
        if self._no_number != model.digest:  # once for each model
            self._no_number = model.digest
            LOG.error(
                "model %s gives chances of a like that are no numbers; lists come "
                "without them",
                model.digest,
            )
        return [chance if math.isfinite(chance) else None for chance in chances]

    def list_id(self, *, of_session: bool = False) -> str:
        """A name for a list that nobody can make up: this process's and a number."""
        name = f"{self._name}{next(self._numbers):x}{SESSION if of_session else ''}"
        return f"{name}.{self._signature(name)}"

    def session_id(self, owner: str, once: str = "") -> str:
        """A name that nobody can guess; always the same for a caller's word `once`."""
        if not once:
            return secrets.token_urlsafe(18)
        text = f"{owner}\n{once}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._secret, digest_size=18).hexdigest()

    def is_of_session(self, list_id: str) -> bool:
        return list_id.partition(".")[0].endswith(SESSION)

    def is_ours(self, list_id: str) -> bool:
        name, _, signature = list_id.partition(".")
        expected = self._signature(name)
        return hmac.compare_digest(signature.encode(), expected.encode())

    def _signature(self, name: str) -> str:
        text = name.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(
            text, key=self._secret, digest_size=SIGNATURE
        ).hexdigest()

    def subject(self, user: object) -> str:
        """The pseudonym of a user in the log; "" for nobody."""
        return "" if user is None else pseudonym(self._secret, user)

    def shown_event(
        self, model: Model, ranked: Ranked, choice: Choice, k: int, **about: Any
    ) -> dict[str, Any]:
        """The log's line about a list: about has recommendation_id, session, ..."""
        count = self.num_ranked(k)
        items, policy = ranked.items[:count], self.settings.exploration
        is_drawn = policy.kind != "none"
        numbers = zip(choice.items, choice.scores, choice.propensities, strict=True)
        scores = ranked.scores[:count].tolist()
        candidates = zip(items.tolist(), scores, strict=True) if is_drawn else ()
        self.metrics.shown(len(choice.items))
        return {
            **event_head("shown", model.digest),
            **about,
            "exploration": str(policy),
            "candidates_digest": hashlib.blake2b(
                items.astype("<i4", copy=False).tobytes(), digest_size=8
            ).hexdigest(),
            "num_candidates": len(items),
            "candidates": [
                {"item": model.item_id(item), "score": score}
                for item, score in candidates
            ],
            "items": [
                {
                    "item": item,
                    "position": position,
                    "propensity": propensity,
                    "score": score,
                }
                for position, (item, score, propensity) in enumerate(numbers)
            ],
        }


def event_head(kind: str, model: str) -> dict[str, Any]:
    now = time.time()
    utc = _utc(int(now), "%Y-%m-%dT%H:%M:%SZ")
    return {"event": kind, "time": round(now, 3), "time_utc": utc, "model": model}


@functools.lru_cache(8)
def _utc(second: int, form: str) -> str:
    return time.strftime(form, time.gmtime(second))


def tally(liked: bool, sign: int = 1) -> Tally:
    """One answer today; sign -1 takes it back."""
    day = _utc(int(time.time()), "%Y-%m-%d")
    return Tally(day, sign * int(liked), sign)


def answer_batch(jobs: Sequence[Question]) -> list[Any]:
    """Questions of each model in calls of their own."""
    answers: list[Any] = [None] * len(jobs)
    by_model: dict[int, list[int]] = {}
    for place, job in enumerate(jobs):
        by_model.setdefault(id(job.model), []).append(place)
    for places in by_model.values():
        questions = [jobs[place] for place in places]
        for place, ranked in zip(
            places, questions[0].model.rank(questions), strict=True
        ):
            answers[place] = ranked
    return answers


async def open_core(settings: Settings) -> Core:
    """A server's parts without a model; ValueError where the store cannot be opened."""
    options = {}
    if settings.store.startswith("sqlite:"):
        options["wait_for_disk"] = settings.wait_for_disk
    store = await open_store(settings.store, **options)
    return Core(settings, store, await store.secret(), ServerMetrics())
