"""Where a data set's files are: the given path, $DLERSE_DATA, or the fetch cache."""

import os
import re
from pathlib import Path

from dlerse_jax.data.fetch import ARCHIVES, cache_folder
from dlerse_jax.data.raw import shortened, spellings

_DATA_SUFFIXES = (".csv", ".tsv", ".parquet", ".txt", ".dat", ".inter", ".net", ".item")
# Texts beside an archive's folder, which are no data.
_ABOUT = re.compile(
    r"\.?_*(readme|licen[cs]e|licencia|notice|citation|about|changes)", re.I
)


def find_folder(
    name: str,
    path: str | Path | None,
    marker: tuple[str, ...],
    *,
    suffixes: tuple[str, ...] = (),
    shown: str = "",
) -> Path:
    """The folder that holds one of the `marker` files, or holds a folder that does.

    Upper and lower case are alike in a marker, and it may be packed (.gz); a file with
    one of the `suffixes` marks the folder too. Looked for at `path`; without a path at
    `$DLERSE_DATA/<name>`, then in the fetch cache. An inner folder is looked at
    because some archives unzip into one. FileNotFoundError tells all three ways to get
    the files, or what is missing (as `shown`). Only one inner folder may hold them, and
    none is looked at where the folder itself holds data; ValueError for several.
    """
    shown = shown or " or ".join(marker)
    if path is not None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{shortened(str(folder))}: no such folder; {_how_to_get(name)}"
            )
        return _folder_with(folder, marker, suffixes, shown)
    for folder in default_folders(name):
        if folder.is_dir():
            return _folder_with(folder, marker, suffixes, shown)
    looked = " or ".join(map(str, default_folders(name)))
    raise FileNotFoundError(
        f"{shortened(name)}: no folder {shortened(looked)}; {_how_to_get(name)}"
    )


def default_folders(name: str) -> list[Path]:
    """Where a set is looked for without a path, in this order."""
    shared = os.environ.get("DLERSE_DATA")
    return ([Path(shared).expanduser() / name] if shared else []) + [
        cache_folder() / name
    ]


def _folder_with(
    folder: Path, marker: tuple[str, ...], suffixes: tuple[str, ...], shown: str
) -> Path:
    if _is_marked(folder, marker, suffixes):
        return folder
    own = sorted(path.name for path in folder.iterdir() if _is_data(path))
    others = sorted(path for path in folder.iterdir() if path.is_dir())
    inner = [path for path in others if _is_marked(path, marker, suffixes)]
    if len(inner) == 1 and not own:
        return inner[0]
    if inner and not own:
        several = ", ".join(path.name for path in inner)
        raise ValueError(
            f"{folder}: {shortened(shown)} is in {len(inner)} folders of it "
            f"({shortened(several)}); give one of them as the path (data.path)"
        )
    names = own or sorted(path.name for path in folder.iterdir()) or ["nothing"]
    found = shortened(", ".join(names))
    raise FileNotFoundError(
        f"{folder}: {shortened(shown)} is missing, found {found}; "
        "give the folder of the unzipped archive, or name the file "
        "(data.table.interactions)"
    )


def _is_marked(
    folder: Path, marker: tuple[str, ...], suffixes: tuple[str, ...]
) -> bool:
    names = {spelling for file in marker for spelling in spellings(file)}
    for path in folder.iterdir():
        file = path.name.lower()
        if (file in names or file.endswith(suffixes)) and path.is_file():
            return True
    return any((folder / file).is_file() for file in marker)  # it may be a path


def _is_data(path: Path) -> bool:
    file = path.name.lower().removesuffix(".gz")
    return file.endswith(_DATA_SUFFIXES) and not _ABOUT.match(file) and path.is_file()


def _how_to_get(name: str) -> str:
    ways = "give its folder as the path (data.path), or set DLERSE_DATA so that"
    fetch = f", or run `dlerse data fetch {name}`" if name in ARCHIVES else ""
    return f"{ways} {shortened(name)} is a folder in it{fetch}"
