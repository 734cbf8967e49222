"""Ctrl-C and SIGTERM as a request: a run ends where its state can be saved.

A run reads one flag between two compiled chunks.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_STOPPING = b"\nstopping: saving after this chunk; Ctrl-C again ends at once\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """`flag` turns True at the first SIGINT or SIGTERM and stays so."""

    def __init__(self) -> None:
        self.flag = False

    def _receive(self, signal_number: int, frame: FrameType | None) -> None:
        """A second Ctrl-C interrupts at once: a chunk may take long."""
        if self.flag and signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.flag and signal_number == signal.SIGINT:
            os.write(2, _STOPPING)
        self.flag = True


@contextlib.contextmanager
def stop_requested() -> Iterator[StopRequest]:
    """Catches SIGINT and SIGTERM while the block runs, then restores the handlers.

    Outside the main thread, where Python allows no handlers, the flag stays False.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    former = {number: signal.signal(number, request._receive) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
