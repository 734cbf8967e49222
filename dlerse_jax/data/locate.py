"""Where a data set's files are: the given path, $DLERSE_DATA, or the fetch cache."""

import os
from pathlib import Path

from dlerse_jax.data.fetch import ARCHIVES, cache_folder
from dlerse_jax.data.raw import shortened, spellings


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
    `$DLERSE_DATA/<name>`, then in the fetch cache. The inner folder is looked at
    because some archives unzip into one. FileNotFoundError tells all three ways to get
    the files, or what is missing (as `shown`).
    """
    shown = shown or " or ".join(marker)
    if path is not None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{shortened(str(folder))}: no such folder; {_how_to_get(name)}"
            )
        return _folder_with(folder, marker, suffixes, shown)
    for folder in _default_folders(name):
        if folder.is_dir():
            return _folder_with(folder, marker, suffixes, shown)
    looked = " or ".join(map(str, _default_folders(name)))
    raise FileNotFoundError(
        f"{shortened(name)}: no folder {shortened(looked)}; {_how_to_get(name)}"
    )


def _default_folders(name: str) -> list[Path]:
    shared = os.environ.get("DLERSE_DATA")
    return ([Path(shared).expanduser() / name] if shared else []) + [
        cache_folder() / name
    ]


def _folder_with(
    folder: Path, marker: tuple[str, ...], suffixes: tuple[str, ...], shown: str
) -> Path:
    names = {spelling for file in marker for spelling in spellings(file)}
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    for candidate in (folder, *inner):
        for path in candidate.iterdir():
            file = path.name.lower()
            if (file in names or file.endswith(suffixes)) and path.is_file():
                return candidate
        if any((candidate / file).is_file() for file in marker):
            return candidate  # a marker may be a path
    found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise FileNotFoundError(
        f"{folder}: {shortened(shown)} is missing, found {shortened(found)}; "
        "give the folder of the unzipped archive, or name the file "
        "(data.table.interactions)"
    )


def _how_to_get(name: str) -> str:
    ways = "give its folder as the path (data.path), or set DLERSE_DATA so that"
    fetch = f", or run `dlerse data fetch {name}`" if name in ARCHIVES else ""
    return f"{ways} {shortened(name)} is a folder in it{fetch}"
