"""Downloads public archives into a cache folder, where `load_dataset` finds them.

The archive stays in the cache beside its unzipped folder. Its SHA-256 is checked at
every call: against the registry, or, where the publisher's checksum is not known to
us, against the one recorded at the first download (`<name>.zip.sha256`). An archive
that does not unpack is deleted with its record, so that the next call starts anew.
"""

import dataclasses
import errno
import lzma
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID

from dlerse_jax.data.raw import did_you_mean, quoted, shortened


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """Where a zip file is published, and its checksum if we are sure of it."""

    url: str
    sha256: str | None = None


MOST_BYTES = 256 * 2**20  # of an archive, and of what it unpacks to: five times ours
# What zipfile raises for damaged, encrypted or unknown contents and unusable names.
_NOT_UNPACKED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
)
# Here the disk is at fault, not the archive.
_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO)
_GROUPLENS = "https://files.grouplens.org/datasets/hetrec2011"
ARCHIVES = {
    "lastfm": Archive(
        url=f"{_GROUPLENS}/hetrec2011-lastfm-2k.zip",
        sha256="6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
    ),
    "delicious": Archive(url=f"{_GROUPLENS}/hetrec2011-delicious-2k.zip"),
    "filmtrust": Archive(
        url="https://guoguibing.github.io/librec/datasets/filmtrust.zip"
    ),
}


def cache_folder() -> Path:
    """`$DLERSE_CACHE`, or the operating system's cache folder for this package."""
    named = os.environ.get("DLERSE_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("dlerse_jax")


def fetch_dataset(name: str, *, archives: Mapping[str, Archive] = ARCHIVES) -> Path:
    """The folder `<cache>/<name>` with the unzipped archive, downloaded if need be.

    Nothing is downloaded when a sound archive is there; a damaged one is replaced. A
    failure leaves the cache without it. ValueError for an unknown name, a wrong
    checksum, a file that is too large or does not unpack, FileNotFoundError for a
    failed download.
    """
    if name not in archives:
        raise ValueError(
            f"no download is known for {quoted(name)}, expected one of "
            f"{', '.join(archives)}"
            f"{did_you_mean(name, archives)}"
        )
    cache = cache_folder()
    zip_path = _download(archives[name], cache, f"{name}.zip")
    if not (cache / name).is_dir():
        _unzip(zip_path, cache / name)
    return cache / name


def _download(archive: Archive, cache: Path, file_name: str) -> Path:
    # Here, as few commands download and all of them would wait.
    import pooch
    import requests

    record = cache / f"{file_name}.sha256"
    known_hash = archive.sha256
    if known_hash is None and record.is_file():
        known_hash = record.read_text().strip()
    store = pooch.create(
        path=cache,
        base_url="",
        registry={file_name: known_hash},
        urls={file_name: archive.url},
    )
    try:
        with Progress(
            *Progress.get_default_columns(),
            DownloadColumn(),
            console=Console(stderr=True),
        ) as progress:
            bar = _DownloadBar(progress, progress.add_task(file_name, total=None))
            downloader = pooch.HTTPDownloader(progressbar=bar)
            path = Path(store.fetch(file_name, downloader=downloader))
    except requests.RequestException as error:
        raise FileNotFoundError(
            f"{archive.url}: download failed ({error}); try again, or unzip the "
            "archive yourself and give its folder as the path"
        ) from error
    except _TooLarge as error:
        raise ValueError(f"{archive.url}: {error}") from None
    except ValueError as error:
        raise ValueError(
            f"{archive.url}: not the expected file ({error}); try again, or if the "
            f"publisher changed it, check it and give its folder as the path"
        ) from error
    record.write_text(pooch.file_hash(str(path)) + "\n")
    return path


def _unzip(zip_path: Path, folder: Path) -> None:
    """Into a scratch folder first: a half-unzipped set never takes the final name."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        files = Path(scratch) / "files"
        files.mkdir()
        try:
            with zipfile.ZipFile(zip_path) as archive:
                _check_contents(archive)
                archive.extractall(files)
        except _NOT_UNPACKED as error:
            if getattr(error, "errno", None) in _THE_DISK:
                raise
            zip_path.unlink()
            zip_path.with_name(f"{zip_path.name}.sha256").unlink(missing_ok=True)
            reason = shortened(str(error) or type(error).__name__)
            raise ValueError(
                f"{zip_path}: not a zip file that can be unpacked ({reason}); it was "
                "removed, try again, or unzip the archive yourself and give its folder "
                "as the path"
            ) from error
        files.rename(folder)


def _check_contents(archive: zipfile.ZipFile) -> None:
    """ValueError for an archive without files, or one that unpacks to too much."""
    members = archive.infolist()
    if all(member.is_dir() for member in members):
        raise ValueError("it holds no file")
    size = sum(member.file_size for member in members)
    if size > MOST_BYTES:
        raise ValueError(f"it unpacks to {_megabytes(size)}, {_ALLOWED}")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"


_ALLOWED = f"and {_megabytes(MOST_BYTES)} are allowed"


class _TooLarge(ValueError):
    """A download of more than MOST_BYTES."""


class _DownloadBar:
    """What pooch asks of a progress bar (total, update, reset, close), with rich."""

    def __init__(self, progress: Progress, task: TaskID):
        self.total = 0  # bytes; pooch sets it before the first update
        self._received = 0
        self._progress = progress
        self._task = task

    def update(self, num_bytes: int) -> None:
        self._received += num_bytes
        size = max(self.total, self._received)
        if size > MOST_BYTES:
            raise _TooLarge(f"the file has {_megabytes(size)} or more, {_ALLOWED}")
        self._progress.update(self._task, total=self.total, advance=num_bytes)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()
