"""`dlerse report DIR`, once the flags are parsed."""

from pathlib import Path

from dlerse_jax.commands.output import say


def report(directory: Path) -> Path:
    """Writes the report of a run or a folder of runs; its path to standard output.

    Errors are those of `write_report`.
    """
    # Here, so that no other command waits for Matplotlib.
    from dlerse_jax.reporting.build import write_report

    page = write_report(directory)
    say(str(page))
    return page
