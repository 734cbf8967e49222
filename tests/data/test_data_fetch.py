"""Downloads against a web server on loopback: good, damaged, missing, interrupted."""

import hashlib
import http.server
import io
import threading
import zipfile

import pytest
from test_data_readers import NO_FILTER

from dlerse_jax.data import fetch_dataset, load_dataset
from dlerse_jax.data.fetch import Archive


def zip_bytes(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"filmtrust/{name}.txt", text)
    return buffer.getvalue()


GOOD = zip_bytes(ratings="1 7 4\n2 7 5\n", trust="1 2 1\n")
GOOD_SHA256 = hashlib.sha256(GOOD).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.num_requests += 1
        if self.path == "/gone.zip":
            return self.send_error(404)
        body = self.server.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = len(body) // 2 if self.path == "/cut.zip" else len(body)
        return self.wfile.write(body[:cut])

    def log_message(self, *_):
        """The test's output stays readable."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.delenv("DLERSE_DATA", raising=False)
    monkeypatch.setenv("DLERSE_CACHE", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.body, server.num_requests = GOOD, 0
        server.cache = tmp_path / "cache"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def fetch(server, file="good.zip", sha256=None):
    url = f"http://127.0.0.1:{server.server_port}/{file}"
    return fetch_dataset(
        "filmtrust", archives={"filmtrust": Archive(url=url, sha256=sha256)}
    )


def leftovers(server):
    return sorted(path.name for path in server.cache.iterdir())


def test_fetched_set_is_found_by_load_dataset(server):
    folder = fetch(server, sha256=GOOD_SHA256)
    assert folder == server.cache / "filmtrust"
    dataset = load_dataset("filmtrust", **NO_FILTER)
    assert dataset.user_ids.tolist() == [1, 2]
    assert leftovers(server) == ["filmtrust", "filmtrust.zip", "filmtrust.zip.sha256"]


def test_second_fetch_downloads_nothing(server):
    fetch(server)
    fetch(server)
    assert server.num_requests == 1


def test_wrong_checksum_is_refused_and_leaves_nothing(server):
    with pytest.raises(ValueError, match="not the expected file"):
        fetch(server, sha256="0" * 64)
    assert leftovers(server) == []
    assert fetch(server, sha256=GOOD_SHA256).is_dir()


def test_checksum_of_the_first_download_is_recorded_and_holds_later(server):
    fetch(server)
    recorded = (server.cache / "filmtrust.zip.sha256").read_text().strip()
    assert recorded == GOOD_SHA256
    (server.cache / "filmtrust.zip").write_bytes(b"damaged")
    fetch(server)  # a damaged archive is downloaded again
    assert (server.cache / "filmtrust.zip").read_bytes() == GOOD
    (server.cache / "filmtrust.zip").unlink()
    server.body = zip_bytes(ratings="9 9 9", trust="9 9")
    with pytest.raises(ValueError, match="not the expected file"):
        fetch(server)


@pytest.mark.parametrize(
    ("file", "message"), [("gone.zip", "404"), ("cut.zip", "download failed")]
)
def test_failed_download_says_so_and_leaves_nothing(server, file, message):
    with pytest.raises(FileNotFoundError, match=message) as error:
        fetch(server, file)
    assert "try again, or unzip the archive yourself" in str(error.value)
    assert leftovers(server) == []
    assert fetch(server).is_dir()


def test_page_instead_of_an_archive_is_removed_again(server):
    server.body = b"<html>moved</html>"
    with pytest.raises(ValueError, match="not a zip file"):
        fetch(server)
    assert leftovers(server) == []


def test_unreachable_server_is_one_clear_line(server):
    url = "http://127.0.0.1:9/closed.zip"
    with pytest.raises(FileNotFoundError, match="download failed"):
        fetch_dataset("filmtrust", archives={"filmtrust": Archive(url=url)})


def test_unknown_name_lists_what_can_be_fetched(server):
    with pytest.raises(ValueError, match='"lastfn".*did you mean "lastfm"'):
        fetch_dataset("lastfn")
