"""The routes: HTTP in, `lists` and `conversations` do it, JSON out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Header, Query
from fastapi.params import Path as PathParameter
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from dlerse_jax.server import models
from dlerse_jax.server.conversations import Conversations
from dlerse_jax.server.core import Core, open_core
from dlerse_jax.server.errors import ApiError
from dlerse_jax.server.guard import MISTAKE, Guard, problem
from dlerse_jax.server.jsons import json_bytes
from dlerse_jax.server.lists import Lists, asked
from dlerse_jax.server.pages import add_pages
from dlerse_jax.server.reload import LoadFn, Reloader
from dlerse_jax.server.security import Caller
from dlerse_jax.server.settings import Settings
from dlerse_jax.server.short import short_ways

LOG = logging.getLogger(__name__)
SessionId = Annotated[
    str,
    PathParameter(
        max_length=models.MOST_LETTERS, pattern=models.NO_NUL, examples=["k3Yp0QeSm1"]
    ),
]
AnyId = Annotated[
    str,
    PathParameter(min_length=1, max_length=200, pattern=models.NO_NUL, examples=["51"]),
]
Once = Annotated[str, Header(max_length=models.MOST_ONCE, examples=["6f1c0c3a"])]
Count = Annotated[int, Query(ge=1, le=models.MOST_K)]
SESSION: dict[str, Any] = {"response_model": models.SessionAnswer}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": models.Problem, "description": text}
    for status, text in {
        400: "the request cannot be read",
        401: "no key, or an unknown one",
        403: "not with this key, or not from this page",
        404: "no such thing",
        409: "it was answered before, or changed meanwhile",
        413: "the request is too large",
        422: "a value is wrong: the line says which",
        429: "too many requests with this key",
        503: "not now: try again",
    }.items()
}


class Parts:
    """What a running application holds; empty before its start."""

    core: Core
    lists: Lists
    talks: Conversations
    reloader: Reloader


def make_app(
    settings: Settings,
    load: LoadFn,
    *,
    keys: Mapping[str, Caller] | None = None,
    run: Path | None = None,
) -> Guard:
    """The whole application. load makes the model, in a thread, while /health answers.

    keys: digest -> caller; none: whoever can reach the server may ask everything.
    """
    parts = Parts()
    app = FastAPI(
        title="dlerse",
        description="Recommendations for people known for their friends.",
        lifespan=_lifespan(parts, settings, load, run),
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
    )
    _word_errors(app)
    _add_lists(app, parts)
    _add_sessions(app, parts)
    _add_people(app, parts)
    _add_operations(app, parts)
    add_pages(app)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key"],
            max_age=600,
        )
    return Guard(
        short_ways(app, parts),
        settings=settings,
        keys=keys or {},
        metrics=lambda: parts.core.metrics if hasattr(parts, "core") else None,
    )


def _lifespan(parts: Parts, settings: Settings, load: LoadFn, run: Path | None) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts.core = core = await open_core(settings)
        parts.lists, parts.talks = Lists(core), Conversations(core)
        parts.reloader = Reloader(core, load, run)
        always = (_start(parts), _purge(core), core.learn_forgotten())
        tasks = [asyncio.create_task(one) for one in always]
        if settings.watch_seconds:
            watch = parts.reloader.watch(settings.watch_seconds)
            tasks.append(asyncio.create_task(watch))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await core.close()

    return lifespan


async def _start(parts: Parts) -> None:
    """The first model; why there is none is logged, and /ready says it."""
    with contextlib.suppress(ApiError):
        await parts.reloader.reload()


async def _purge(core: Core) -> None:
    """Deletes what has expired, now and then."""
    while True:
        try:
            await core.log.expire()
            core.num_sessions = await core.store.purge(time.time())
            core.metrics.sessions(core.num_sessions)
        except Exception as error:
            LOG.error("expired sessions were not deleted: %r", error)
        await asyncio.sleep(core.settings.purge_seconds)


def _word_errors(app: FastAPI) -> None:
    """Every error of the framework as one line."""

    def refused(request: Request, error: Any) -> Response:
        headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
        return _problem(error.status, error.message, headers)

    def invalid(request: Request, error: Any) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return _problem(422, f"{place}: {first['msg']}"[:500])

    def http(request: Request, error: Any) -> Response:
        return _problem(error.status_code, str(error.detail)[:500], error.headers)

    def mistaken(request: Request, error: Any) -> Response:
        return _problem(500, MISTAKE)  # `Guard`, to which it is raised on, logs it

    app.add_exception_handler(Exception, mistaken)
    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _json(content: Any, status: int = 200) -> Response:
    return Response(json_bytes(content), status, media_type="application/json")


def _problem(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(problem(message), status, headers, "application/json")


def _owner(request: Request) -> str:
    return request.scope["caller"].name


def _add_lists(app: FastAPI, parts: Parts) -> None:
    @app.post("/recommend", tags=["lists"], response_model=models.RecommendAnswer)
    async def recommend(question: models.RecommendRequest) -> Response:
        """The best items for one person. Nothing is kept but the log's line."""
        return _json(await parts.lists.recommend(question))

    @app.post("/recommendations/{recommendation_id}/answers", tags=["lists"])
    async def answer_list(
        recommendation_id: AnyId, answer: models.ListAnswerRequest
    ) -> models.Health:
        """An answer to an item of a list, for the log; once for each item."""
        await parts.lists.answer(recommendation_id, answer)
        return models.Health(status="logged")

    @app.post("/explain", tags=["lists"])
    async def explain(
        question: models.ExplainRequest, request: Request
    ) -> models.Explanation:
        """Why an item, for the person of a session or of the request."""
        who = asked(question)
        if question.session_id is not None:
            session = question.session_id
            who = await parts.talks.asked_in(session, _owner(request))
        return await parts.lists.explain(who, question.item)

    @app.get("/items/{item_id:path}/similar", tags=["lists"])
    async def similar(item_id: AnyId, k: Count = 10) -> list[models.Similar]:
        """Items that the same people like."""
        return parts.lists.similar(item_id, k)


def _add_sessions(app: FastAPI, parts: Parts) -> None:
    @app.post("/sessions", status_code=201, tags=["sessions"], **SESSION)
    async def open_session(
        question: models.Question, request: Request, idempotency_key: Once = ""
    ) -> Response:
        """Begins a session; `next` is its first item. Sent again with the same
        Idempotency-Key, it is the same session.
        """
        record = await parts.talks.open(question, _owner(request), idempotency_key)
        return _json(parts.talks.content(record), status=201)

    @app.get("/sessions/{session_id}", tags=["sessions"], **SESSION)
    async def session(session_id: SessionId, request: Request) -> Response:
        record = await parts.talks.get(session_id, _owner(request))
        return _json(parts.talks.content(record))

    @app.post("/sessions/{session_id}/answers", tags=["sessions"], **SESSION)
    async def answer(
        session_id: SessionId, answer: models.AnswerRequest, request: Request
    ) -> Response:
        """Takes an answer to `next` and shows the next item. Once: a second answer to
        the same recommendation_id is a conflict.
        """
        record = await parts.talks.answer(session_id, answer, _owner(request))
        return _json(parts.talks.content(record))

    @app.post("/sessions/{session_id}/undo", tags=["sessions"], **SESSION)
    async def undo(session_id: SessionId, request: Request) -> Response:
        """Takes the last answer back."""
        record = await parts.talks.undo(session_id, _owner(request))
        return _json(parts.talks.content(record))

    @app.patch("/sessions/{session_id}", tags=["sessions"], **SESSION)
    async def change(
        session_id: SessionId, change: models.SessionChange, request: Request
    ) -> Response:
        """Other friends, or personal or not; answers stay."""
        record = await parts.talks.change(session_id, change, _owner(request))
        return _json(parts.talks.content(record))

    @app.delete("/sessions/{session_id}", tags=["sessions"])
    async def delete_session(session_id: SessionId, request: Request) -> models.Deleted:
        """Forgets the session, in the log too."""
        return await parts.talks.delete(session_id, _owner(request))


def _add_people(app: FastAPI, parts: Parts) -> None:
    """Ids may have slashes; the route that ends in friends must be the first."""

    @app.post("/users/{user_id:path}/friends", tags=["people"])
    async def add_friends(
        user_id: AnyId, ties: models.FriendsRequest
    ) -> models.FriendsAnswer:
        """New ties of somebody, beside those there are; in use at once."""
        return await parts.lists.add_friends(user_id, ties.friends, replace=False)

    @app.post("/users/{user_id:path}", tags=["people"])
    async def add_user(
        user_id: AnyId, ties: models.FriendsRequest
    ) -> models.FriendsAnswer:
        """Somebody new, or other friends of somebody who was added before."""
        return await parts.lists.add_friends(user_id, ties.friends, replace=True)

    @app.delete("/users/{user_id:path}", tags=["people"])
    async def forget(user_id: AnyId) -> models.Deleted:
        """Forgets somebody: ties, sessions, lines of the log, their name in other
        sessions. What the model learned from them stays until it is trained anew.
        """
        return await parts.lists.forget(user_id)

    @app.get("/users", tags=["people"])
    async def search_users(
        prefix: Annotated[str, Query(min_length=1, max_length=200)], k: Count = 10
    ) -> models.People:
        """Users whose id begins so; only where the server was started with --demo."""
        return models.People(users=parts.lists.search_users(prefix, k))


def _add_operations(app: FastAPI, parts: Parts) -> None:
    @app.get("/health", tags=["operations"])
    async def health() -> models.Health:
        """The process is alive."""
        return models.Health(status="alive")

    @app.get("/ready", tags=["operations"])
    async def ready() -> models.Health:
        """A model is compiled and may be asked; else 503."""
        if parts.core.is_ready:
            return models.Health(status="ready")
        problem = parts.reloader.problem
        raise ApiError(503, problem or "the model is being loaded", retry_after=1)

    @app.get("/metrics", tags=["operations"])
    async def metrics() -> Response:
        """Prometheus' text."""
        return Response(parts.core.metrics.text(), media_type="text/plain")

    @app.post("/admin/reload", tags=["operations"])
    async def reload() -> models.Reloaded:
        """Loads the run's files again; the old model serves until the new one is
        compiled and has passed its self-check.
        """
        model, changed, seconds = await parts.reloader.reload()
        return models.Reloaded(
            model=model.digest, changed=changed, seconds=round(seconds, 3)
        )

    @app.get("/admin/overview", tags=["operations"])
    async def overview() -> models.Overview:
        """What the operator's page shows."""
        return await _overview(parts)


async def _overview(parts: Parts) -> models.Overview:
    core = parts.core
    days = [
        models.Day(day=day, liked=liked, answers=answers)
        for day, liked, answers in await core.store.tallies()
    ]
    model = core.model if core.is_ready else None
    return models.Overview(
        model=model.digest if model else None,
        agent=model.name if model else None,
        exploration=str(core.settings.exploration),
        sessions=core.num_sessions,
        problem=parts.reloader.problem,
        days=days[-models.DAYS_SHOWN :],
        **core.metrics.overview(),
    )
