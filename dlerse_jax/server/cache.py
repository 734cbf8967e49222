"""Sessions in memory: the last record written and what the model knows of it."""

import dataclasses
from collections import OrderedDict
from typing import Any

from dlerse_jax.server.store import SessionRecord, Stored

RECORD_BYTES, ANSWER_BYTES = 4096, 600  # about what a record and its answers take


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """A session as it was last written here."""

    stored: Stored
    model: str = ""  # digest of the model that `state` belongs to
    state: Any = None  # one array or None; None: it is made of the answers
    named: Any = None  # ranking.Named: whom the state is of

    @property
    def record(self) -> SessionRecord:
        return self.stored.record

    @property
    def num_bytes(self) -> int:
        record = RECORD_BYTES + ANSWER_BYTES * len(self.record.answers)
        return record + getattr(self.state, "nbytes", 0)


class SessionCache:
    """The sessions used last, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._most_bytes, self._bytes = most_bytes, 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, session_id: str) -> Held | None:
        held = self._held.get(session_id)
        if held is not None:
            self._held.move_to_end(session_id)
        return held

    def put(self, held: Held) -> None:
        self.drop(held.record.session_id)
        self._held[held.record.session_id] = held
        self._bytes += held.num_bytes
        while self._bytes > self._most_bytes and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].num_bytes

    def clear(self) -> None:
        self._held.clear()
        self._bytes = 0

    def drop(self, session_id: str) -> None:
        if (held := self._held.pop(session_id, None)) is not None:
            self._bytes -= held.num_bytes
