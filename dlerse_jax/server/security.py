"""Who may ask, and how often: API keys kept as digests, and a token bucket for each.

A key is 32 random bytes, so that a plain SHA-256 of it cannot be guessed back. A line
of the key file is `name role digest`; the role `admin` may also reload the model and
read the operator's page.
"""

import dataclasses
import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ENVIRONMENT = "DLERSE_API_KEYS"  # lines of a key file, separated by commas
_LINE = re.compile(r"([A-Za-z0-9_.-]{1,40}) (client|admin) ([0-9a-f]{64})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    name: str  # of the key; "" where the server has none
    role: str


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(name: str, role: str = "client") -> tuple[str, str]:
    """A key, which is shown once, and its line for the key file."""
    key = f"dk_{secrets.token_urlsafe(32)}"
    line = f"{name} {role} {digest(key)}"
    if not _LINE.fullmatch(line):
        raise ValueError(
            f"a key is NAME or NAME:admin, the name up to 40 letters, digits, _ . -; "
            f"got {name!r}, {role!r}"
        )
    return key, line


def read_keys(path: str | Path | None, environment: str = "") -> dict[str, Caller]:
    """Digest -> whose it is, from a key file and the environment variable.

    FileNotFoundError where the file is missing, ValueError names a line that is wrong.
    """
    found: dict[str, Caller] = {}
    text = Path(path).read_text(encoding="utf-8") if path else ""
    places = [(f"{path}, line {n + 1}", t) for n, t in enumerate(text.splitlines())]
    places += [(ENVIRONMENT, part) for part in environment.split(",")]
    for place, line in places:
        words = line.partition("#")[0].strip()
        if not words:
            continue
        match = _LINE.fullmatch(words)
        if match is None:
            raise ValueError(
                f"{place}: expected `name role digest`, the role client or admin; "
                "`dlerse serve --new-key=NAME` makes such a line"
            )
        found[match[3]] = Caller(name=match[1], role=match[2])
    if path and not found:
        raise ValueError(
            f"{path}: no key in it; `dlerse serve --new-key=NAME` makes one"
        )
    return found


def key_in(headers: Mapping[bytes, bytes]) -> str:
    """The key in `Authorization: Bearer` or `X-API-Key`; "" for none."""
    bearer = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, key = bearer.partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()


def is_address(host: str) -> bool:
    """An IP address, v6 in brackets or not; no name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, keys: Mapping[str, Caller]) -> None:
    """ValueError where others than this machine could ask without a key."""
    if not keys and not is_loopback(host):
        raise ValueError(
            f"--host={host} lets other machines ask, and there is no API key: make one "
            "with `dlerse serve --new-key=NAME --keys=FILE`, then name the file"
        )


class TokenBuckets:
    """Each caller may ask `rate` times a second, and `burst` times at once."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """rate 0: no limit."""
        self._rate, self._burst, self._clock = rate, max(burst, 1.0), clock
        self._tokens: dict[str, tuple[float, float]] = {}  # name -> tokens, when

    def take(self, name: str) -> float:
        """Takes a token -> 0, or the seconds until there is one."""
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, then = self._tokens.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        is_enough = tokens >= 1
        self._tokens[name] = (tokens - is_enough, now)
        return 0.0 if is_enough else (1 - tokens) / self._rate
