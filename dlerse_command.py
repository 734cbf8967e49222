"""The command `dlerse`: outside the package, whose import alone takes seconds.

Ctrl-C ends it without a traceback while it is still being imported, too.
"""


def main() -> int:
    """`dlerse_jax.commands.main.main`, or 130 where it was interrupted before."""
    try:
        from dlerse_jax.commands.main import main as run
    except KeyboardInterrupt:
        return 130
    return run()
