"""Docstrings of the package are plain text with `names`; Sphinx wants more."""

import re

CODE = re.compile(r"(`[^`]*`)")


def as_restructured_text(app, what, name, subject, options, lines) -> None:
    """Rewrites the lines of one docstring in place (autodoc-process-docstring).

    A paragraph becomes one line, an indented one is shown as it is written, and what
    stands between backticks is code.
    """
    paragraphs = re.split(r"\n[ \t]*\n", "\n".join(lines).strip("\n"))
    lines[:] = [line for text in paragraphs for line in (*_paragraph(text), "")]


def _paragraph(text: str) -> list[str]:
    lines = text.splitlines()
    if any(line.startswith(" ") for line in lines) and not lines[0].startswith("- "):
        return ["::", "", *("    " + line for line in lines)]
    if lines and lines[0].startswith("- "):
        return [
            _escaped(line)
            for line in " ".join(lines).replace(" - ", "\n- ").split("\n")
        ]
    return [_escaped(" ".join(line.strip() for line in lines))]


def _escaped(text: str) -> str:
    """Code between double backticks; no other sign means anything."""
    parts = CODE.split(text)
    return "".join(
        f"`{part}`" if part.startswith("`") and len(part) > 2 else _plain(part)
        for part in parts
    )


def _plain(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text)
