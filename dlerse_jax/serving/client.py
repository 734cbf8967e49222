"""A typed client of the server, on the standard library alone.

with Client("http://127.0.0.1:8000", key="dk_...") as client:
    talk = client.session(friends=[12, 40])
    while talk.next:
        talk.answer(liked=ask_somebody(talk.next["title"]))
"""

import http.client
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypedDict
from urllib.parse import quote, urlencode, urlsplit

Id = int | str
TRIES, PAUSE = 3, 0.2  # to begin a session; seconds between them
NO_HEADERS: Mapping[str, str] = {}


class Item(TypedDict):
    """One item of a list."""

    item: Id
    title: str
    score: float
    chance: float | None
    propensity: float
    position: int


class Recommendations(TypedDict):
    recommendation_id: str
    model: str
    items: list[Item]
    unknown_friends: list[Id]
    unknown_items: list[Id]


class Next(TypedDict):
    """The item that a session asks about."""

    recommendation_id: str
    item: Id
    title: str
    score: float
    chance: float | None
    propensity: float


class Answered(TypedDict):
    recommendation_id: str
    item: Id
    title: str
    liked: bool


class ServerError(Exception):
    """The server refused, in its own words; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Asks one server, over one connection that is kept; not for several threads.

    ServerError where the server refuses, OSError where it is not reached.
    """

    def __init__(self, address: str, *, key: str = "", timeout: float = 30.0) -> None:
        """address: as http://127.0.0.1:8000; timeout in seconds."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"address is {address!r}, expected http://HOST:PORT")
        self._kind = (
            http.client.HTTPSConnection
            if parts.scheme == "https"
            else http.client.HTTPConnection
        )
        self._host, self._port = parts.hostname, parts.port
        self._root, self._timeout = parts.path.rstrip("/"), timeout
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- what the server does ---------------------------------------------------------

    def recommend(
        self,
        *,
        user: Id | None = None,
        friends: Sequence[Id] | None = None,
        liked: Sequence[Id] = (),
        disliked: Sequence[Id] = (),
        k: int = 10,
        exclude: Sequence[Id] = (),
        only: Sequence[Id] | None = None,
        personal: bool = True,
    ) -> Recommendations:
        """The best k items for one person."""
        return self._ask(
            "POST",
            "/recommend",
            user=user,
            friends=_listed(friends),
            liked=list(liked),
            disliked=list(disliked),
            k=k,
            exclude=list(exclude),
            only=_listed(only),
            personal=personal,
        )

    def answer(self, recommendation_id: str, item: Id, *, liked: bool) -> None:
        """What was said of an item of a list; ServerError 409 for the second time."""
        path = f"/recommendations/{quote(recommendation_id, safe='')}/answers"
        self._ask("POST", path, item=item, liked=liked)

    def session(
        self,
        *,
        user: Id | None = None,
        friends: Sequence[Id] | None = None,
        liked: Sequence[Id] = (),
        disliked: Sequence[Id] = (),
        personal: bool = True,
    ) -> "ClientSession":
        """Begins a session; once, however often the connection breaks meanwhile."""
        once = secrets.token_hex(16)
        for tries_left in reversed(range(TRIES)):
            try:
                content = self._ask(
                    "POST",
                    "/sessions",
                    headers={"Idempotency-Key": once},
                    user=user,
                    friends=_listed(friends),
                    liked=list(liked),
                    disliked=list(disliked),
                    personal=personal,
                )
                break
            except OSError:
                if not tries_left:
                    raise
                time.sleep(PAUSE)
        return ClientSession(self, content)

    def resume(self, session_id: str) -> "ClientSession":
        """A session that was begun before, here or elsewhere."""
        return ClientSession(self, self._ask("GET", _session(session_id)))

    def explain(self, item: Id, **person: Any) -> list[str]:
        """Why an item: session_id, or user, friends, liked, disliked."""
        return self._ask("POST", "/explain", item=item, **person)["reasons"]

    def similar(self, item: Id, *, k: int = 10) -> list[dict[str, Any]]:
        """Items that the same people like: item, title, similarity."""
        return self._ask("GET", f"/items/{quote(str(item), safe='')}/similar", {"k": k})

    def add_user(self, user: Id, friends: Iterable[Id]) -> dict[str, int]:
        """Somebody new, or other friends of somebody who was added before."""
        return self._ask("POST", _user(user), friends=list(friends))

    def add_friends(self, user: Id, friends: Iterable[Id]) -> dict[str, int]:
        """New ties, in use at once."""
        return self._ask("POST", f"{_user(user)}/friends", friends=list(friends))

    def forget(self, user: Id) -> dict[str, int]:
        """Forgets somebody: ties, sessions, lines of the log."""
        return self._ask("DELETE", _user(user))

    def is_ready(self) -> bool:
        """Whether a model may be asked; False where nobody answers, too."""
        try:
            self._ask("GET", "/ready")
        except (ServerError, OSError):
            return False
        return True

    def reload(self) -> dict[str, Any]:
        """Loads the run again: model, changed, seconds. Needs a key with role admin."""
        return self._ask("POST", "/admin/reload")

    # --- HTTP -------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        **content: Any,
    ) -> Any:
        path = self._root + path + (f"?{urlencode(query)}" if query else "")
        body = json.dumps(content) if content else None
        status, text = self._exchange(method, path, body, headers)
        try:
            answer = json.loads(text or b"{}")
        except ValueError:  # a proxy's page, or that of another server
            raise ServerError(status, f"HTTP {status}, and no JSON") from None
        if status >= 300:
            told = answer.get("error") if isinstance(answer, dict) else None
            raise ServerError(status, told or f"HTTP {status}")
        return answer

    def _exchange(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Once more where the server had closed a connection that was kept."""
        was_kept = self._connection is not None
        if self._connection is None:
            self._connection = self._kind(self._host, self._port, timeout=self._timeout)
        response = None
        try:
            self._connection.request(method, path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            return response.status, response.read()
        except (ConnectionError, http.client.HTTPException) as error:
            self.close()
            if response is None and isinstance(error, ConnectionError):  # no answer yet
                if was_kept:
                    return self._exchange(method, path, body, headers)
                raise
            raise ConnectionError(f"the answer broke off: {error!r}") from error
        except BaseException:
            self.close()
            raise


class ClientSession:
    """One session: `next`, `answer`, `undo`."""

    def __init__(self, client: Client, content: dict[str, Any]) -> None:
        self._client, self._content = client, content

    @property
    def session_id(self) -> str:
        return self._content["session_id"]

    @property
    def next(self) -> Next | None:
        """The item to show; None where none is left."""
        return self._content["next"]

    @property
    def answers(self) -> list[Answered]:
        return self._content["answers"]

    @property
    def unknown_friends(self) -> list[Id]:
        """Of those that the session was given, whom the model does not know."""
        return self._content["unknown_friends"]

    @property
    def unknown_items(self) -> list[Id]:
        """Of those that were liked or disliked beforehand, likewise."""
        return self._content["unknown_items"]

    def answer(self, *, liked: bool) -> Next | None:
        """What was said of `next` -> the item after it. ValueError where there is none,
        ServerError 409 where it was answered elsewhere: `refresh` reads the session.
        """
        if self.next is None:
            raise ValueError("the session has no item left to answer")
        shown = self.next["recommendation_id"]
        self._do("POST", "/answers", recommendation_id=shown, liked=liked)
        return self.next

    def undo(self) -> None:
        """Takes the last answer back."""
        self._do("POST", "/undo")

    def change(
        self, *, friends: Sequence[Id] | None = None, personal: bool | None = None
    ) -> None:
        """Other friends, or personal or not, from the next item on."""
        self._do("PATCH", friends=_listed(friends), personal=personal)

    def refresh(self) -> None:
        """Reads the session again."""
        self._do("GET")

    def why(self) -> list[str]:
        """Reasons for `next`; ValueError where there is none."""
        if self.next is None:
            raise ValueError("the session has no item left to explain")
        return self._client.explain(self.next["item"], session_id=self.session_id)

    def delete(self) -> None:
        """Forgets the session, in the server's log too."""
        self._client._ask("DELETE", _session(self.session_id))

    def _do(self, method: str, path: str = "", **content: Any) -> None:
        place = _session(self.session_id) + path
        self._content = self._client._ask(method, place, **content)


def _listed(ids: Sequence[Id] | None) -> list[Id] | None:
    return None if ids is None else list(ids)


def _session(session_id: str) -> str:
    return f"/sessions/{quote(session_id, safe='')}"


def _user(user: Id) -> str:
    return f"/users/{quote(str(user), safe='')}"
