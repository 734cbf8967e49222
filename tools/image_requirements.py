"""Prints deploy/requirements.txt: what the image installs, at the versions of this
environment, which are those that the tests are run with.

    python tools/image_requirements.py > deploy/requirements.txt
"""

from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("serve", "redis", "postgres", "telemetry")
LEFT_OUT = ("wandb", "matplotlib")  # only training and reports import them
# The image's Python and system, not those of whoever runs this.
IMAGE = {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
    "os_name": "posix",
}
HEADER = """\
# Made by `python tools/image_requirements.py`: versions that the tests are run with.
# Without {left_out}, which only training and reports import.
"""


def needed(name: str, extras: frozenset[str], found: dict[str, set[str]]) -> None:
    """Adds to found what a package needs with its extras, and what that needs."""
    known = found.setdefault(canonicalize_name(name), set())
    wanted = {"", *extras} - known
    known |= wanted
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        asked = [
            e for e in wanted if marker is None or marker.evaluate(IMAGE | {"extra": e})
        ]
        if asked and requirement.name not in LEFT_OUT:
            needed(requirement.name, frozenset(requirement.extras), found)


def main() -> None:
    found: dict[str, set[str]] = {}
    needed("dlerse_jax", frozenset(EXTRAS), found)
    print(HEADER.format(left_out=" and ".join(LEFT_OUT)), end="")
    for name in sorted(set(found) - {"dlerse-jax"}):
        print(f"{name}=={metadata.version(name)}")


if __name__ == "__main__":
    main()
