"""How much of a value a message shows."""

import re

MOST_LETTERS = 200  # of one value
_WHOLE_MESSAGE = 1200
_LONG_PARTS = re.compile(r"\S{201,}|'[^']{200,}'")


def shorten(value: str) -> str:
    """The value, or its first letters and how many there were."""
    if len(value) <= MOST_LETTERS:
        return value
    return f"{value[: MOST_LETTERS - 40]}... ({len(value):,} letters)"


def one_line(error: BaseException | str) -> str:
    """An error in one line, values in it cut: a mistyped file may come back in one."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = _LONG_PARTS.sub(lambda part: shorten(part.group()), text)
    if len(text) <= _WHOLE_MESSAGE:
        return text
    return f"{text[:800]} ... {text[-300:]}"
