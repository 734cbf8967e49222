"""What every request passes before it reaches a route, and every answer on its way out.

Keys, rates, sizes, hosts and origins are checked here; security headers are added;
whatever goes wrong becomes one line of JSON, never a stack trace.
"""

import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from dlerse_jax.server.deadlines import Deadlines
from dlerse_jax.server.errors import ApiError
from dlerse_jax.server.metrics import ServerMetrics
from dlerse_jax.server.security import (
    Caller,
    TokenBuckets,
    digest,
    is_address,
    key_in,
)
from dlerse_jax.server.settings import Settings

LOG = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Asked without a key: pages hold nothing that is anybody's.
OPEN = ("/", "/admin", "/docs", "/health", "/ready", "/openapi.json")
OPEN_FOLDER = "/static/"
# Asked by whoever watches the process, under whatever address it has there.
PROBES = ("/health", "/ready")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; object-src 'none'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
]
MISTAKE = "the server made a mistake; it is logged"
ALL_HEADERS = [*HEADERS, (b"cache-control", b"no-store")]


class Guard:
    """Wraps the application. `scope["caller"]` says who asks."""

    def __init__(
        self,
        app: App,
        *,
        settings: Settings,
        keys: Mapping[str, Caller],
        metrics: Callable[[], ServerMetrics | None],
    ) -> None:
        self._app, self._settings, self._keys = app, settings, keys
        self._metrics = metrics
        self._buckets = TokenBuckets(settings.rate, settings.burst)
        self._arrival = Deadlines(settings.body_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(send, is_kept=scope["path"].startswith(OPEN_FOLDER))
        try:
            scope["by_name"] = headers = dict(scope["headers"])
            self._check(scope, headers)
            whole = await self._body(headers, receive)
            await self._app(scope, replay(whole, receive), answer.send)
        except ApiError as refusal:
            await answer.refuse(refusal)
        except Exception as error:
            LOG.error("%s", json.dumps(traceback.format_exception(error)[-8:]))
            await answer.refuse(ApiError(500, MISTAKE))
        if metrics := self._metrics():
            seconds = time.perf_counter() - began
            metrics.request(_route(scope), answer.status, seconds)

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """ApiError for a request that may not go on."""
        path = scope["path"]
        self._check_place(headers, path in PROBES)
        is_preflight = scope["method"] == "OPTIONS"
        if path in OPEN or path.startswith(OPEN_FOLDER) or is_preflight:
            return
        caller = self._caller(headers)
        if path.startswith("/admin/") and caller.role != "admin":
            raise ApiError(403, "this is for keys with the role admin")
        scope["caller"] = caller
        wait = self._buckets.take(caller.name)
        if wait:
            raise ApiError(
                429,
                f"more than {self._settings.rate:g} requests a second with this key",
                retry_after=int(wait) + 1,
            )

    def _check_place(self, headers: Mapping[bytes, bytes], is_probe: bool) -> None:
        """Refuses other names of this host, and pages of other origins.

        Probes come to an address, which no page can give itself as a name.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        hosts = self._settings.hosts
        name = _host_name(host)
        if hosts and name not in hosts and not (is_probe and is_address(name)):
            raise ApiError(421, "the server does not answer to this host name")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self._settings.origins:
            return
        if urlsplit(origin).netloc != host:
            raise ApiError(403, "pages of this origin may not ask; see --origins")

    def _caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        if not self._keys:
            return Caller(name="", role="admin")
        key = key_in(headers)
        if not key:
            raise ApiError(401, "an API key is missing: Authorization: Bearer KEY")
        caller = self._keys.get(digest(key))
        if caller is None:
            raise ApiError(401, "the server does not know this API key")
        return caller

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole request, which must come soon and be small."""
        most = self._settings.most_bytes
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise _too_large(most)
        parts, size = [], 0
        try:
            with self._arrival.limit():
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ApiError(400, "the request broke off")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _too_large(most)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            seconds = self._settings.body_seconds
            raise ApiError(408, f"the request took over {seconds:g} s") from None


class _Answer:
    """Sends an answer with the headers, and knows its status."""

    def __init__(self, send: Send, *, is_kept: bool) -> None:
        self._send, self.status, self._is_kept = send, 0, is_kept

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = HEADERS if self._is_kept else ALL_HEADERS
            message["headers"] = [*message["headers"], *extra]
        await self._send(message)

    async def refuse(self, refusal: ApiError) -> None:
        """Nothing where an answer was begun: what is left is to break off."""
        if self.status:
            return
        body = problem(refusal.message)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if refusal.retry_after:
            headers.append((b"retry-after", str(refusal.retry_after).encode()))
        if refusal.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        start = {"type": "http.response.start", "status": refusal.status}
        await self.send({**start, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def problem(message: str) -> bytes:
    """The body of every refusal."""
    return json.dumps({"error": " ".join(message.split())}).encode()


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"a request may have {most:,} bytes")


def _host_name(host: str) -> str:
    """Without the port: `localhost` of localhost:8000, `[::1]` of [::1]:8000."""
    name, _, port = host.rpartition(":")
    return name if port.isdigit() and name else host


def replay(body: bytes, receive: Receive) -> Receive:
    """What has been read, then whatever comes: that the caller hung up."""
    is_read = False

    async def replayed() -> MutableMapping[str, Any]:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _route(scope: Scope) -> str:
    """The route's pattern, so that ids make no new metrics."""
    route = scope.get("route")
    path = getattr(route, "path_format", None)
    return f"{scope['method']} {path}" if path else "other"
