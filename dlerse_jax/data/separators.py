"""The separator of a text file's fields: given, or found from its first lines."""

import csv
import re
from collections.abc import Sequence

BLANKS = " "  # means one or more blanks or tabs
QUOTELESS = ("\t",)  # in these files a quote is a letter like any other
KNOWN = (",", "\t", ";", "|", "::", BLANKS)
_BLANK_RUN = re.compile(rb"[ \t]+")
_BY_SUFFIX = {
    ".csv": ",",
    ".tsv": "\t",
    **dict.fromkeys((".inter", ".net", ".item"), "\t"),
}
_WORDS = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "bar": "|",
    "space": BLANKS,
    "spaces": BLANKS,
    "blank": BLANKS,
    "": "",
}
_NAMES = {"\t": "tabs", BLANKS: "blanks"}


def named_separator(word: str) -> str:
    """A separator as it is written in a config: ",", "tab", "\\t"; "" to find it.

    ValueError for what is none: one letter (no letter, digit, quote or newline), "::",
    or a word from the list.
    """
    if word in _WORDS or word in KNOWN:
        return _WORDS.get(word, word)
    usable = len(word) == 1 and word.isascii() and not word.isalnum()
    if not usable or word in "\"'\n\r-.":
        raise ValueError(
            f"data.table.separator is {word[:200]!r}, expected one letter such as "
            '"," or ";", or one of tab, comma, semicolon, bar, space, ::'
        )
    return word


def usual_separator(suffix: str) -> str:
    """What files of this suffix (lower case) are parted by; "" where it is open."""
    return _BY_SUFFIX.get(suffix, "")


def find_separator(
    lines: Sequence[str], suffix: str, names: Sequence[str], positions: int
) -> str:
    """The separator of a file that starts with these lines.

    With a header: the one that shows most of the wanted `names`, the suffix's own first
    among equals. Without (no names): one that gives each line equally many fields, at
    least `positions`; the one with most. A comma where none does.
    """
    usual = usual_separator(suffix)
    candidates = [usual, *KNOWN] if usual else list(KNOWN)
    if names:
        scores = [_num_found(lines[:1], one, names) for one in candidates]
    else:
        scores = [_num_fields(lines, one, positions) for one in candidates]
        if any(scores[:-1]):  # a blank may well be part of a field
            scores[-1] = 0
    return candidates[scores.index(max(scores))] if max(scores) else usual or ","


def separator_word(separator: str) -> str:
    """What a note calls it."""
    return _NAMES.get(separator, f'"{separator}"')


def one_letter(raw: bytes, separator: str) -> tuple[bytes, str]:
    """The text with a separator of one letter: "::" and runs of blanks become tabs."""
    if separator == "::":
        return raw.replace(b"\t", b" ").replace(b"::", b"\t"), "\t"
    if separator == BLANKS:
        return re.sub(rb"[ \t]*\n[ \t]*", b"\n", _BLANK_RUN.sub(b"\t", raw)).strip(
            b"\t"
        ), "\t"
    return raw, separator


def fields_of(line: str, separator: str) -> list[str]:
    """The fields of one line, without blanks around them and without quotes.

    In a file parted by tabs a quote is a letter like any other.
    """
    if separator == BLANKS:
        return line.split()
    if separator in ("\t", "::"):
        return [field.strip() for field in line.split(separator)]
    try:
        (fields,) = csv.reader([line], delimiter=separator, skipinitialspace=True)
    except (csv.Error, ValueError):  # a field of 131,072 letters, or an open quote
        fields = line.split(separator)
    return [field.strip() for field in fields]


def _num_found(lines: Sequence[str], separator: str, names: Sequence[str]) -> int:
    found = fields_of(lines[0], separator) if lines else []
    return sum(name in found for name in dict.fromkeys(names))


def _num_fields(lines: Sequence[str], separator: str, positions: int) -> int:
    counts = {len(fields_of(line, separator)) for line in lines}
    smallest = min(counts, default=0)
    return smallest if len(counts) == 1 and smallest >= positions else 0
