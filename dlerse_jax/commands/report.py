"""`dlerse report DIR`, once the flags are parsed."""

import sys
from pathlib import Path


def report(directory: Path) -> Path:
    """Writes the report of a run or a folder of runs; its path to standard output.

    Errors are those of `write_report`.
    """
    # Here, so that no other command waits for Matplotlib.
    from dlerse_jax.reporting.build import write_report

    page = write_report(directory)
    sys.stdout.write(f"{page}\n")
    return page
