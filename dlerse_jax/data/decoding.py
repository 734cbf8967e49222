"""Bytes of a file as UTF-8 text: unpacked, decoded, or refused with one line.

No byte is ever replaced: a letter that cannot be read would make two people one. What
is no text at all (a web page, JSON, an archive, NULs) is refused by what it is.
"""

import gzip
import re
import zlib
from pathlib import Path

_GZIP = b"\x1f\x8b"
_MOST_UNPACKED = 16 * 2**30  # bytes of one unpacked file
_PIECE = 2**24
_MARK = b"\xef\xbb\xbf"
# Of letters beyond ASCII: in Latin-1 texts most of them stand alone among others.
_MOST_TOGETHER, _FEWEST = 0.75, 6
# Newline, tab, carriage return and form feed are text; 0x1A ends old DOS files.
_CONTROLS = bytes(set(range(32)) - set(b"\n\t\r\f\v")) + b"\x7f"
_FOREIGN = (
    (
        re.compile(rb"PK\x03\x04"),
        "a zip archive or a spreadsheet: unzip it, or save it",
    ),
    (re.compile(rb"PAR1"), "a Parquet file: give it the suffix .parquet, or save it"),
    (re.compile(rb"BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd"), "packed: unpack it"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer: fetch the file"),
    (re.compile(rb"SQLite format 3|%PDF-"), "a database or a document: save it"),
    (
        re.compile(
            rb"\s*<(!doctype|html|head|body|\?xml|!--|script|table|div|p>)", re.I
        ),
        "a web page, perhaps an error or a login page: download it again",
    ),
    (re.compile(rb'\s*(\{\s*["}\']|\[\s*[\[{"\]])'), "JSON: save it"),
)


def read_bytes(path: Path) -> bytes:
    """The whole file, unpacked where it is gzip, whatever its name says.

    ValueError for a broken archive, or one that unpacks to more than 16 GB.
    """
    raw = path.read_bytes()
    if not raw.startswith(_GZIP):
        return raw
    pieces, total = [], 0
    try:
        with gzip.open(path) as unpacked:
            while piece := unpacked.read(_PIECE):
                pieces.append(piece)
                total += len(piece)
                if total > _MOST_UNPACKED:
                    raise ValueError(f"{path}: unpacks to more than 16 GB; unpack it")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: broken gzip file ({error}); pack it anew") from error
    return b"".join(pieces)


def decode(
    raw: bytes, path: Path | str, *, any_line: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """The text as UTF-8 with lines that end in newlines, and what to say about it.

    UTF-8 and UTF-16 are known by their marks or their form; all else is Windows-1252
    (or Latin-1, where that has no such letter), which never makes two texts one.
    `any_line` is for columns that people typed: there each line may have an encoding
    of its own. ValueError for what is no text, or a mixture of encodings.
    """
    _refuse_foreign(raw, path)
    raw, notes = _unmarked(raw, path)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if any_line:
            raw = b"\n".join(map(_line_as_utf8, raw.split(b"\n")))
        else:
            raw, note = _as_single_bytes(raw, path, error)
            notes += (note,)
    raw = _with_newlines(raw).rstrip(b"\x1a")
    if any_line:
        return raw.translate(bytes(32 if b in _CONTROLS else b for b in range(256))), ()
    _refuse_controls(raw, path)
    num_lost = raw.count("\ufffd".encode())
    if num_lost:
        notes += (
            f"warning: {num_lost} letters of {_name(path)} were lost before it came "
            "here (U+FFFD): ids may have become one; save it as UTF-8 from its source",
        )
    return raw, notes


def _refuse_foreign(raw: bytes, path: Path | str) -> None:
    start = raw[:1000].removeprefix(_MARK)
    for pattern, what in _FOREIGN:
        if pattern.match(start):
            as_text = " as CSV" if what.endswith("save it") else ""
            raise ValueError(f"{path}: this is {what}{as_text}")


def _unmarked(raw: bytes, path: Path | str) -> tuple[bytes, tuple[str, ...]]:
    """UTF-16 and UTF-32 as UTF-8, and no byte-order mark."""
    if raw.startswith(_MARK):
        while raw.startswith(_MARK):  # files that were joined have several
            raw = raw[3:]
        return raw, ()
    encoding = _wide_encoding(raw)
    if encoding is None:
        return raw, ()
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: broken {encoding.upper()} text ({error.reason} at byte "
            f"{error.start}); save it as UTF-8"
        ) from None
    note = f"{_name(path)} is {encoding.upper()[:6]}, and read as that"
    return text.encode("utf-8"), (note,)


def _wide_encoding(raw: bytes) -> str | None:
    """utf-16 or utf-32 by a byte-order mark, else UTF-16 by where its NULs stand."""
    if raw.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = raw[:4096]
    at_even, at_odd = start[::2].count(0), start[1::2].count(0)
    half = len(start) // 2
    if at_odd > 0.6 * half and not at_even:
        return "utf-16-le"
    if at_even > 0.6 * half and not at_odd:
        return "utf-16-be"
    return None


def _as_single_bytes(
    raw: bytes, path: Path | str, error: UnicodeDecodeError
) -> tuple[bytes, str]:
    line = raw.count(b"\n", 0, error.start) + 1
    if _has_utf8_letter(raw):
        raise ValueError(
            f"{path}:{line}: neither UTF-8 nor Latin-1 throughout: some lines are one "
            "and some the other; save the whole file as UTF-8"
        )
    if _is_other_script(raw):
        raise ValueError(
            f"{path}:{line}: neither UTF-8 nor, by its letters, Latin-1: perhaps an "
            "encoding of Cyrillic, Greek or East Asian texts; save it as UTF-8"
        )
    try:
        text, encoding = raw.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, encoding = raw.decode("latin-1"), "Latin-1"
    note = f"{_name(path)} is not UTF-8 (first at line {line}): read as {encoding}"
    return text.encode("utf-8"), note


def _is_other_script(raw: bytes) -> bool:
    """Whether most bytes beyond ASCII stand together, as letters of no Latin text."""
    runs = list(map(len, re.findall(rb"[\x80-\xff]+", raw)))
    together = sum(length for length in runs if length > 1)
    return sum(runs) >= _FEWEST and together > _MOST_TOGETHER * sum(runs)


def _has_utf8_letter(raw: bytes) -> bool:
    """Whether some line with letters beyond ASCII is UTF-8 for all that."""
    for line in re.findall(rb"[^\n]*[\x80-\xff][^\n]*", raw):
        try:
            line.decode("utf-8")
            return True
        except UnicodeDecodeError:
            continue
    return False


def _line_as_utf8(line: bytes) -> bytes:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1").encode("utf-8")
    return line


def _with_newlines(raw: bytes) -> bytes:
    if b"\r" not in raw:
        return raw
    raw = raw.replace(b"\r\n", b"\n")
    return raw if b"\n" in raw else raw.replace(b"\r", b"\n")  # old Macs


def _refuse_controls(raw: bytes, path: Path | str) -> None:
    if len(raw.translate(None, _CONTROLS)) == len(raw):
        return
    if (first := re.search(b"[" + re.escape(_CONTROLS) + b"]", raw)) is None:
        return
    line = raw.count(b"\n", 0, first.start()) + 1
    raise ValueError(
        f"{path}:{line}: holds the byte 0x{first.group()[0]:02X}, so it is no text "
        "file; export it again as CSV"
    )


def _name(path: Path | str) -> str:
    return path.name if isinstance(path, Path) else path
