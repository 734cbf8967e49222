"""What commands write to standard output."""

import sys


def say(line: str) -> None:
    """One line, seen at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
