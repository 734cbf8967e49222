"""The manifest of a folder: what was written there, and a checksum of each file.

It has a checksum of its own, so that any damaged bit is known before anything is read.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlerse_jax.runtime.atomic_files import write_atomically

NAME = "manifest.json"


class Damaged(ValueError):
    """A file is not what was written."""


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` and the checksums of all files that are in the folder now."""
    body = {**content, "files": _checksums(folder)}
    sealed = {"sha256": digest_of(body), "body": body}
    write_atomically(folder / NAME, json.dumps(sealed).encode())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content and `files`, once every file is what was written; else `Damaged`."""
    try:
        sealed = json.loads((folder / NAME).read_bytes())
        body = sealed["body"]
        whole = sealed["sha256"] == digest_of(body)
    except PermissionError:
        raise  # nothing is known of it
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise Damaged(f"{NAME} is missing or cut short") from error
    if not whole:
        raise Damaged(f"{NAME} is not what was written")
    found = _checksums(folder)
    for name, checksum in body["files"].items():
        if found.get(name) != checksum:
            raise Damaged(f"{name} is missing or not what was written")
    return body


def is_whole(folder: Path) -> bool:
    """Whether every file is what was written."""
    try:
        read_manifest(folder)
    except Damaged:
        return False
    return True


def digest_of(content: Any) -> str:
    """The same word for the same JSON content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _checksums(folder: Path) -> dict[str, str]:
    checksums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / NAME:
            checksums[path.relative_to(folder).as_posix()] = _checksum(path)
    return checksums


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError:
        raise
    except OSError as error:  # a bad sector
        raise Damaged(f"{path.name} cannot be read ({error})") from error
