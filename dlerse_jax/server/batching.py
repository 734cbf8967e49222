"""Work in batches: what arrived while one was worked on is the next.

There is no timer: a lone request is worked on at once, and under load batches grow to
what arrives during one. `Batcher` works in a thread of its own, which suits what takes
long or waits for a disk. `LoopBatcher` works in the event loop between two looks at
the network: what takes a millisecond costs less than to wake a thread and to take
turns with it at Python's lock.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from dlerse_jax.server.errors import busy

Job = TypeVar("Job")
Answer = TypeVar("Answer")
LOG = logging.getLogger(__name__)


class Batcher(Generic[Job, Answer]):
    """Hands jobs of coroutines to a thread and its answers back."""

    def __init__(
        self,
        work: Callable[[list[Job]], Sequence[Answer | BaseException]],
        *,
        name: str,
        most: int = 64,
        most_waiting: int = 4096,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        """work: jobs -> an answer, or an exception, for each; called in the thread.

        most: jobs in a batch; most_waiting: jobs that wait before more are refused;
        seen: told the size of every batch.
        """
        self._work, self._most, self._most_waiting = work, most, most_waiting
        self._seen = seen
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def ask(self, job: Job) -> Answer:
        """The answer to a job; its exception is raised. 503 where too many wait."""
        if self._waiting.qsize() >= self._most_waiting:
            raise busy("too many requests are waiting; try again in a second")
        loop = asyncio.get_running_loop()
        future: asyncio.Future = loop.create_future()
        self._waiting.put((job, future, loop))
        return await future

    def close(self) -> None:
        """Ends the thread after all that waits is done."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._arrived()
            batch = [entry for entry in batch if not entry[1].cancelled()]
            if batch:
                self._seen(len(batch))
                jobs = [job for job, _, _ in batch]
                _hand_back(batch, answers_of(self._work, jobs))

    def _arrived(self) -> tuple[list, bool]:
        """What waits, at most a batch -> it, and whether more may come."""
        batch = [self._waiting.get()]
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._most and batch[-1] is not None:
                batch.append(self._waiting.get_nowait())
        is_open = batch[-1] is not None
        return (batch if is_open else batch[:-1]), is_open


class LoopBatcher(Generic[Job, Answer]):
    """The same in the event loop: it hears of nothing while a batch is worked on."""

    def __init__(
        self,
        work: Callable[[list[Job]], Sequence[Answer | BaseException]],
        *,
        most: int = 64,
        most_waiting: int = 4096,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._work, self._most, self._most_waiting = work, most, most_waiting
        self._seen = seen
        self._waiting: list[tuple[Job, asyncio.Future]] = []

    def ask(self, job: Job) -> "asyncio.Future[Answer]":
        """As of `Batcher`. What else is ready to run now comes into the same batch."""
        if len(self._waiting) >= self._most_waiting:
            raise busy("too many requests are waiting; try again in a second")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._work_off, loop)
        self._waiting.append((job, future))
        return future

    def _work_off(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._waiting[: self._most]
        self._waiting = self._waiting[self._most :]
        if self._waiting:
            loop.call_soon(self._work_off, loop)
        if batch := [entry for entry in batch if not entry[1].cancelled()]:
            self._seen(len(batch))
            answers = answers_of(self._work, [job for job, _ in batch])
            futures = [future for _, future in batch]
            _resolve(list(zip(futures, answers, strict=True)))


def answers_of(
    work: Callable[[list[Job]], Sequence[Answer | BaseException]], jobs: list[Job]
) -> Sequence[Answer | BaseException]:
    """An answer or an exception for each; a batch that fails is done one by one."""
    try:
        return work(jobs)
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        LOG.warning("a batch of %d failed and is done one by one", len(jobs))
        return [answers_of(work, [job])[0] for job in jobs]


def _hand_back(batch: list, answers: Sequence) -> None:
    """Resolves the futures, in one wake-up of each event loop."""
    by_loop: dict[Any, list] = {}
    for (_, future, loop), answer in zip(batch, answers, strict=True):
        by_loop.setdefault(loop, []).append((future, answer))
    for loop, pairs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: list) -> None:
    for future, answer in pairs:
        if future.done():  # its request gave up
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
