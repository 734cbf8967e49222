"""A server of its own process on the fake model: fake_server.py FOLDER PORT [KEYS]."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from fakes import fake_app, free_port

from dlerse_jax.server.security import read_keys
from dlerse_jax.serving.client import Client


def main(folder: str, port: str, keys: str = "") -> None:
    import uvicorn

    found = read_keys(keys) if keys else None
    app = fake_app(Path(folder), demo=True, keys=found).app
    uvicorn.run(app, port=int(port), log_level="warning", http="httptools")


@contextlib.contextmanager
def fake_server(folder, *keys):
    """A running server's process and address; killed in the end."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), str(port), *keys]
    )
    address = f"http://127.0.0.1:{port}"
    try:
        with Client(address) as client:
            for _ in range(600):
                if client.is_ready():
                    break
                time.sleep(0.1)
        yield process, address
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
