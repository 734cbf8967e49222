"""`dlerse report DIR`, once the flags are parsed."""

import sys
from pathlib import Path

from dlerse_jax.reporting.build import write_report


def report(directory: Path) -> Path:
    """Writes the report of a run or a folder of runs; its path to standard output.

    Errors are those of `write_report`.
    """
    page = write_report(directory)
    sys.stdout.write(f"{page}\n")
    return page
