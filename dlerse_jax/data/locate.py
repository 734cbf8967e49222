"""Where a data set's files are: the given path, $DLERSE_DATA, or the fetch cache."""

import os
from pathlib import Path

from dlerse_jax.data.fetch import ARCHIVES, cache_folder


def find_folder(name: str, path: str | Path | None, marker: tuple[str, ...]) -> Path:
    """The folder that holds one of the `marker` files, or holds a folder that does.

    Looked for at `path`; without a path at `$DLERSE_DATA/<name>`, then in the fetch
    cache. The inner folder is looked at because some archives unzip into one.
    FileNotFoundError tells all three ways to get the files, or what is missing.
    """
    if path is not None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; {_how_to_get(name)}")
        return _folder_with(folder, marker)
    for folder in _default_folders(name):
        if folder.is_dir():
            return _folder_with(folder, marker)
    looked = " or ".join(map(str, _default_folders(name)))
    raise FileNotFoundError(f"{name}: no folder {looked}; {_how_to_get(name)}")


def _default_folders(name: str) -> list[Path]:
    shared = os.environ.get("DLERSE_DATA")
    return ([Path(shared) / name] if shared else []) + [cache_folder() / name]


def _folder_with(folder: Path, marker: tuple[str, ...]) -> Path:
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    for candidate in (folder, *inner):
        if any((candidate / file).is_file() for file in marker):
            return candidate
    found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise FileNotFoundError(
        f"{folder}: {' or '.join(marker)} is missing, found {found}; "
        "give the folder of the unzipped archive"
    )


def _how_to_get(name: str) -> str:
    ways = f"give its folder as the path (data.path), or set DLERSE_DATA so that {name}"
    fetch = f", or run `dlerse data fetch {name}`" if name in ARCHIVES else ""
    return f"{ways} is a folder in it{fetch}"
