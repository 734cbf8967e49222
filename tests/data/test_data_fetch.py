"""Downloads against a web server on loopback: good, damaged, missing, interrupted."""

import errno
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


def flagged(archive, *, bits=0, method=None):
    """The archive with the flags or the method of all its members changed."""
    raw = bytearray(archive)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = raw.find(mark)
        while start >= 0:
            raw[start + flags] |= bits
            if method is not None:
                raw[start + flags + 2] = method
            start = raw.find(mark, start + 4)
    return bytes(raw)


def zipped(*names, content=b"1 7 4\n", **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content, **options)
    return buffer.getvalue()


def with_damaged_stream():
    archive = zipped("ratings.txt", content=bytes(range(256)) * 400)
    start = archive.index(b"ratings.txt") + len("ratings.txt")
    return archive[:start] + b"\xff" * 20 + archive[start + 20 :]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (with_damaged_stream(), "invalid"),
        (flagged(GOOD, bits=1), "encrypted"),
        (flagged(GOOD, method=97), "not supported|unsupported"),
        (zipped(), "it holds no file"),
        (zipped("a/"), "it holds no file"),
        (zipped("x" * 300), "name too long"),
        (zipped("a", "a/b"), "directory|exists"),
        (GOOD[:-10], "not a zip file"),
    ],
    ids=["stream", "encrypted", "method", "empty", "folder", "name", "both", "cut"],
)
def test_archive_that_does_not_unpack_goes_with_its_record(server, body, reason):
    server.body = body
    with pytest.raises(ValueError, match=f"(?i)can be unpacked .*({reason})") as error:
        fetch(server)
    assert "\n" not in str(error.value)
    assert leftovers(server) == []
    server.body = GOOD
    assert fetch(server).is_dir()


def test_full_disk_is_not_blamed_on_the_archive(server, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", no_space)
        with pytest.raises(OSError, match="No space left"):
            fetch(server)
    assert leftovers(server) == ["filmtrust.zip", "filmtrust.zip.sha256"]
    assert fetch(server).is_dir()


def test_sizes_are_limited_and_told(server, monkeypatch):
    server.body = zipped("ratings.txt", content=b"0" * 300 * 2**20)
    with pytest.raises(ValueError, match="unpacks to 300 MB, and 256 MB are allowed"):
        fetch(server)
    assert leftovers(server) == []
    monkeypatch.setattr("dlerse_jax.data.fetch.MOST_BYTES", 100)
    server.body = GOOD
    with pytest.raises(ValueError, match=r"good.zip: the file has \d+ MB or more"):
        fetch(server)
    assert leftovers(server) == []


def test_unreachable_server_is_one_clear_line(server):
    url = "http://127.0.0.1:9/closed.zip"
    with pytest.raises(FileNotFoundError, match="download failed"):
        fetch_dataset("filmtrust", archives={"filmtrust": Archive(url=url)})


def test_unknown_name_lists_what_can_be_fetched(server):
    with pytest.raises(ValueError, match='"lastfn".*did you mean "lastfm"'):
        fetch_dataset("lastfn")
