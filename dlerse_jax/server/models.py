"""Requests and answers of the API, with their limits and examples.

Ids are whole numbers or text, as the data has them. A key that a request does not have
is refused: a misspelt one would otherwise do nothing.
"""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
)

from dlerse_jax.server.ranking import Model
from dlerse_jax.server.store import SessionRecord

MOST_FRIENDS = 1000
MOST_ITEMS = 1000  # liked, disliked or excluded
MOST_ONLY = 10_000
MOST_K = 100
MOST_LETTERS = 64  # of a session's id
MOST_ONCE = 100  # letters of an Idempotency-Key
DAYS_SHOWN = 60

NO_NUL = r"^[^\x00]*$"  # which PostgreSQL cannot keep

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
Number = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
Id = Number | Text
Friends = Annotated[list[Id], Field(max_length=MOST_FRIENDS)]
Items = Annotated[list[Id], Field(max_length=MOST_ITEMS)]
NO_ITEMS: Any = ()  # unlike a list not copied for every request


def _example(**content: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [content]})


class Question(BaseModel):
    """For whom. Without user and friends: for somebody nobody knows."""

    model_config = _example(friends=[12, 40], liked=[51])

    user: Id | None = Field(
        None, description="an id of the data set, or of somebody new"
    )
    friends: Friends | None = Field(
        None, description="users; in place of those that are known of `user`"
    )
    liked: Items = Field(
        NO_ITEMS, description="items of which they said that they like them"
    )
    disliked: Items = Field(
        NO_ITEMS, description="items of which they said the opposite"
    )
    personal: StrictBool = Field(
        True, description="false: friends and answers are not used, only not repeated"
    )


class RecommendRequest(Question):
    model_config = _example(friends=[12, 40], liked=[51], k=5)

    k: Annotated[StrictInt, Field(ge=1, le=MOST_K)] = 10
    exclude: Items = Field(NO_ITEMS, description="items not to show")
    only: Annotated[list[Id], Field(max_length=MOST_ONLY)] | None = Field(
        None, description="items to choose from; all without it"
    )


class ListAnswerRequest(BaseModel):
    model_config = _example(item=51, liked=True)

    item: Id
    liked: StrictBool


class AnswerRequest(BaseModel):
    model_config = _example(recommendation_id="Zk3vX0aQ9rL1.5c2e9a10", liked=True)

    recommendation_id: Text
    liked: StrictBool


class SessionChange(BaseModel):
    """What is to be different from now on; answers stay."""

    model_config = _example(friends=[12])

    friends: Friends | None = None
    personal: StrictBool | None = None


class FriendsRequest(BaseModel):
    model_config = _example(friends=[12, 40])

    friends: Friends


class ExplainRequest(Question):
    model_config = _example(item=51, friends=[12, 40])

    item: Id
    session_id: Text | None = Field(
        None, description="a session, in place of user, friends, liked and disliked"
    )


class Problem(BaseModel):
    """Every refusal: one line."""

    model_config = _example(error="no session of this id; it may have expired")

    error: str


class Item(BaseModel):
    item: int | str
    title: str
    score: float
    chance: float | None = Field(None, description="of a like, where the agent has one")
    propensity: float = Field(description="the chance with which it was shown here")
    position: int = Field(description="from 0 on")


class RecommendAnswer(BaseModel):
    recommendation_id: str
    model: str = Field(description="digest of the model that answered")
    items: list[Item]
    unknown_friends: list[int | str] = Field(description="that the model does not know")
    unknown_items: list[int | str]


class Shown(BaseModel):
    recommendation_id: str
    item: int | str
    title: str
    score: float
    chance: float | None
    propensity: float


class Answered(BaseModel):
    recommendation_id: str = Field(description="empty where it was told beforehand")
    item: int | str
    title: str
    liked: bool


class SessionAnswer(BaseModel):
    session_id: str
    personal: bool
    friends: list[int | str] | None = Field(description="as the session was given them")
    answers: list[Answered]
    next: Shown | None = Field(description="null where no item is left")
    expires: float = Field(description="seconds since 1970; every answer puts it off")
    unknown_friends: list[int | str] = Field(description="that the model does not know")
    unknown_items: list[int | str] = Field(description="of the answers, likewise")


def session_content(record: SessionRecord, model: Model) -> dict[str, Any]:
    """The content of a `SessionAnswer`."""
    told = (answer.item for answer in record.answers)
    return {
        "session_id": record.session_id,
        "personal": record.personal,
        "friends": record.friends,
        "answers": [vars(answer) for answer in record.answers],
        "next": record.shown and vars(record.shown),
        "expires": record.expires,
        "unknown_friends": [x for x in record.friends or () if model.user(x) is None],
        "unknown_items": [item for item in told if model.item(item) is None],
    }


class Deleted(BaseModel):
    sessions: int = Field(description="sessions deleted or rid of the name")
    log_lines: int = Field(description="lines taken out of the log of events")


class FriendsAnswer(BaseModel):
    friends: int = Field(description="ties that are kept")
    known: int = Field(description="of them, users that the model knows")


class Explanation(BaseModel):
    item: int | str
    title: str
    reasons: list[str]
    unknown_friends: list[int | str] = Field(description="that the model does not know")
    unknown_items: list[int | str]


class Similar(BaseModel):
    item: int | str
    title: str
    similarity: float = Field(description="cosine of who likes both, 0 to 1")


class People(BaseModel):
    users: list[int | str]


class Health(BaseModel):
    status: str


class Reloaded(BaseModel):
    model: str
    changed: bool
    seconds: float


class Day(BaseModel):
    day: str = Field(description="UTC")
    liked: int
    answers: int


class Overview(BaseModel):
    """The operator's page: this process, and the answers of all of them by day."""

    model: str | None
    agent: str | None
    exploration: str
    sessions: int
    problem: str = Field(description="why the last model was not used")
    up_seconds: float
    requests_last_minute: int
    p50_ms: float | None
    p99_ms: float | None
    answers_judged: int
    share_of_likes: float | None
    drift_alarm: bool
    days: list[Day]
