"""Work that is done ahead of need, in a thread beside the one that will need it.

XLA compiles without Python's lock, as NumPy and SciPy decompose matrices, so a second
thread has the time that the first one waits for the device, and every other core.
"""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Once:
    """What is made once for each key, by the thread that asks first; others wait."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Future] = {}
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        """Whether somebody has asked for it."""
        return key in self._found

    def __call__(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What make() returned for this key, or raised, the first time."""
        with self._lock:
            is_first = key not in self._found
            future = self._found.setdefault(key, Future())
        if is_first:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        return future.result()


@contextlib.contextmanager
def beside(jobs: Iterable[Callable[[], object]]) -> Iterator[None]:
    """Does jobs in a thread of their own, one after the other, while the block runs.

    At the block's end, however it ends, the job at hand goes on and the others are
    dropped: who needs one does it then, or waits for it (`Once`). So a process that is
    asked to stop waits for one job at most. What a job raises is for who needs it.
    """
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside")
    for job in jobs:
        thread.submit(job)
    try:
        yield
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
