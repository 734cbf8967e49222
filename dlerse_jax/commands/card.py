"""`dlerse card RUN`: the model card of a finished run."""

from pathlib import Path

from dlerse_jax.commands.output import say


def card(run: Path) -> None:
    """Writes the card into the run directory, and its path to standard output."""
    from dlerse_jax.reporting.card import write_card

    say(str(write_card(run)))
