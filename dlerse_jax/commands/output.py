"""What commands write to standard output, and warnings to standard error."""

import contextlib
import sys
import warnings
from collections.abc import Iterator


def say(line: str) -> None:
    """One line, seen at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def lines_for_warnings() -> Iterator[None]:
    """In the block a warning is a line without the place in the code it came from."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        sys.stderr.write(f"dlerse: {message}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always", UserWarning)
        yield
