"""Time limits of requests, all watched by one timer.

`asyncio.timeout` arms a timer for each, which costs as much as reading a request does.
Here a limit is an entry in a list that is looked at eight times in its length, so that
a request is given up at most an eighth later.
"""

import asyncio
from types import TracebackType
from typing import Self

LOOKS = 8


class Deadlines:
    """Makes limits of one length, in the event loop that runs."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[Limit, float] = {}  # oldest first -> when it is over
        self._is_watching = False

    def limit(self) -> "Limit":
        """`with` it the current task has `seconds`, then TimeoutError is raised."""
        return Limit(self)

    def begin(self, limit: "Limit") -> None:
        loop = asyncio.get_running_loop()
        self._open[limit] = loop.time() + self.seconds
        if not self._is_watching:
            self._is_watching = True
            loop.call_later(self.seconds / LOOKS, self._look, loop)

    def end(self, limit: "Limit") -> None:
        self._open.pop(limit, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for limit, over in list(self._open.items()):
            if over > now:
                break
            del self._open[limit]
            limit.give_up()
        self._is_watching = bool(self._open)
        if self._is_watching:
            loop.call_later(self.seconds / LOOKS, self._look, loop)


class Limit:
    """One request's limit."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines, self._is_over = deadlines, False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._deadlines.begin(self)
        return self

    def give_up(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadlines.end(self)
        if not self._is_over or self._task is None or self._task.uncancel():
            return
        if kind is asyncio.CancelledError:
            raise TimeoutError from error
