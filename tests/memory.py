"""What a process that runs tests holds in memory, and how it gives some of it back."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOO_LARGE = 6  # exit status; pytest's own end at 5
GIB = 2**30
LIMIT = 2 * GIB  # of a process that runs tests: four fit a laptop
ROOM = LIMIT // 2  # what one may hold when it begins with another file


def resident() -> int:
    """Bytes held now; the peak where the system does not say."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return peak()
    return int(pages.read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """The most bytes that were ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def make_room(most: int = ROOM) -> None:
    """Drops all compiled programs where more than this is held.

    They take seconds to trace and load again, so a process that is small keeps them.
    """
    if resident() <= most:
        return
    import jax
    from one_program import forget_programs

    forget_programs()
    jax.clear_caches()
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc keeps what is freed, unless told
        libc.malloc_trim(0)


def too_large(peaks: dict[str, tuple[int, str]]) -> list[str]:
    """Complaints about processes, of their peaks: name -> bytes, file it was in."""
    return [
        f"{name} held {held / GIB:.2f} GiB while it ran {file}; the limit is "
        f"{LIMIT / GIB:.0f} GiB: make its worlds smaller, or share its programs"
        for name, (held, file) in peaks.items()
        if held > LIMIT
    ]
