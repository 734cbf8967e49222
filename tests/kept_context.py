"""Programs are lowered in one MLIR context after the other, not in one each.

To make a context takes longer than to lower a program of few operations, and most
programs of tests are such.
"""

import functools
import importlib.metadata
import threading

# Whose flags of XLA, and whose name for what makes a context, are known.
KNOWN_JAX = importlib.metadata.version("jaxlib").startswith("0.10.")
MOST = 50  # programs in one: it holds their constants for as long as it lives


def keep_contexts(make):
    """`make`, called once for `MOST` programs of a thread."""
    held = threading.local()

    @functools.wraps(make)
    def context():
        if not getattr(held, "left", 0):
            held.context, held.left = make(), MOST
        held.left -= 1
        return held.context

    return context
