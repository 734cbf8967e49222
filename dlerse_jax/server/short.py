"""A shorter way than FastAPI's to the three requests that are most of all.

A body that is right goes straight to its function. Whatever else it is, the request
goes on to FastAPI, which words what is wrong and knows about other origins.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from dlerse_jax.server import models
from dlerse_jax.server.guard import App, Receive, Scope, Send, replay
from dlerse_jax.server.jsons import json_bytes

JSON = b"application/json"
ONCE = b"idempotency-key"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """From a path to the content of its answer."""

    path: str  # FastAPI's, with at most one {name}
    request: type[BaseModel]
    # (request, what the path names, scope) -> content
    answer: Callable[[Any, str, Scope], Awaitable[Any]]
    status: int = 200


def short_ways(app: FastAPI, parts: Any) -> App:
    """The application with its short ways. parts: `app.Parts`."""

    async def answer(said: models.AnswerRequest, session_id: str, scope: Scope) -> Any:
        owner = scope["caller"].name
        record = await parts.talks.answer(session_id, said, owner)
        return parts.talks.content(record)

    async def begin(question: models.Question, _: str, scope: Scope) -> Any:
        once = scope["by_name"].get(ONCE, b"").decode("latin-1")
        record = await parts.talks.open(question, scope["caller"].name, once)
        return parts.talks.content(record)

    return _with_ways(
        app,
        Way(
            path="/recommend",
            request=models.RecommendRequest,
            answer=lambda question, *_: parts.lists.recommend(question),
        ),
        Way(
            path="/sessions/{session_id}/answers",
            request=models.AnswerRequest,
            answer=answer,
        ),
        Way(path="/sessions", request=models.Question, answer=begin, status=201),
    )


def _with_ways(app: FastAPI, *ways: Way) -> App:
    routes = {
        route.path: route
        for route in app.routes
        if isinstance(route, APIRoute) and "POST" in route.methods
    }
    known = {way.path.partition("{")[0]: (routes[way.path], way) for way in ways}

    async def short(scope: Scope, receive: Receive, send: Send) -> None:
        found = _found(known, scope) if scope["type"] == "http" else None
        if found is None:
            await app(scope, receive, send)
            return
        route, way, name = found
        body = (await receive())["body"]  # whole: `Guard` has read it
        try:
            asked = way.request.model_validate_json(body)
        except ValidationError:
            await app(scope, replay(body, receive), send)
            return
        scope["route"] = route
        content = await way.answer(asked, name, scope)
        await _send_json(send, json_bytes(content), way.status)

    return short


def _found(known: dict, scope: Scope) -> tuple[APIRoute, Way, str] | None:
    """known: route and way by the path up to what it names."""
    if scope["method"] != "POST":
        return None
    headers = scope["by_name"]
    if b"origin" in headers or headers.get(b"content-type") != JSON:
        return None
    if len(headers.get(ONCE, b"")) > models.MOST_ONCE:
        return None
    path = scope["path"]
    found = known.get(path) or known.get(path[: path.find("/", 1) + 1])
    if found is None or not (match := found[0].path_regex.match(path)):
        return None
    name = "".join(match.groups())
    is_name = len(name) <= models.MOST_LETTERS and "\0" not in name
    return (*found, name) if is_name else None


async def _send_json(send: Send, body: bytes, status: int) -> None:
    headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
