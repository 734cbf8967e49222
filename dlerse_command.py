"""The command `dlerse`: outside the package, whose import alone takes seconds.

Ctrl-C ends it at once, and without a traceback, while it is still being imported.
"""

import os
import signal

INTERRUPTED = 130


def main() -> int:
    """`dlerse_jax.commands.main.main`, which handles Ctrl-C itself from there on."""
    former = signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from dlerse_jax.commands.main import main as run

    signal.signal(signal.SIGINT, former)
    return run()
