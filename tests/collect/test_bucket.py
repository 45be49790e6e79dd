"""How a bucket is listed and asked: in order, in parallel ranges, again where that helps, and without its secrets."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from fxengine.collect import bucket as bucket_module
from fxengine.collect import collect
from fxengine.collect.bucket import listed
from fxengine.collect.remote import read_remote
from fxengine.errors import DecodeError, InputError
from fxengine.storage import absolute, is_remote, open_bucket, shown
from tests.buckets import SECRET, environment
from tests.conftest import ROOT, make_photo


@contextmanager
def answering(statuses: list[tuple[int, str]], patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve "fine", after answers with these statuses and codes; yield the paths that were asked for."""
    asked, left = list[str](), [*statuses]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, code = left.pop(0) if left else (200, "")
            body = f"<Error><Code>{code}</Code></Error>".encode() if code else b"fine"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Sat, 28 Nov 2026 10:00:00 GMT")
            self.send_header("ETag", '"one"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    environment(patch, f"http://127.0.0.1:{server.server_port}")
    open_bucket.cache_clear()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        open_bucket.cache_clear()


def test_what_passes_is_tried_again_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering([(503, "SlowDown"), (500, "InternalError")], monkeypatch) as asked:
        data, found = read_remote("s3:/bucket/a.jpg", 100)
    assert (data, found.size, found.etag, found.mtime_ns) == (b"fine", 4, '"one"', 1_795_860_000_000_000_000)
    assert len(asked) == 3


AZURE = """<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="box"><Blobs><Blob><Name>a.jpg</Name>
<Properties><Last-Modified>Sat, 28 Nov 2026 10:00:00 GMT</Last-Modified>
<Etag>0x8D1</Etag><Content-Length>4</Content-Length>
<Content-Type>image/jpeg</Content-Type></Properties></Blob></Blobs><NextMarker/></EnumerationResults>"""


def test_azure_says_the_same_of_an_object_in_a_listing_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_list = "comp=list" in self.path
            body = AZURE.encode() if is_list else b"fine"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/xml" if is_list else "image/jpeg")
            self.send_header("Last-Modified", "Sat, 28 Nov 2026 10:00:00 GMT")
            self.send_header("ETag", '"0x8D1"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        facts = {"ENDPOINT": f"http://127.0.0.1:{server.server_port}", "ALLOW_HTTP": "true", "SKIP_SIGNATURE": "true"}
        for name, value in {**facts, "STORAGE_ACCOUNT_NAME": "someone"}.items():
            monkeypatch.setenv(f"AZURE_{name}", value)
        open_bucket.cache_clear()
        found = [each for page in open_bucket("az", "box").pages("") for each in page]
        data, read = read_remote("az:/box/a.jpg", 100)
        server.shutdown()
        open_bucket.cache_clear()
    assert data == b"fine"
    assert [each.etag for each in found] == [read.etag] == ['"0x8D1"']


@pytest.mark.parametrize(
    ("status", "code", "kind", "tries"),
    [
        (404, "NoSuchKey", "vanished", 1),
        (404, "NoSuchBucket", "vanished", 1),
        (403, "AccessDenied", "permission", 1),
        (401, "ExpiredToken", "permission", 1),
        (400, "ExpiredToken", "io", 1),
        (503, "SlowDown", "io", 5),
    ],
)
def test_what_stays_is_told_apart_from_what_passes(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: str, tries: int
) -> None:
    word = SECRET[:7]
    with answering([(status, code)] * 9, monkeypatch) as asked, pytest.raises(DecodeError) as caught:
        read_remote(f"s3:/bucket/{word}.jpg", 100)
    assert (caught.value.code, len(asked)) == (kind, tries)
    told = "".join(traceback.format_exception(caught.value))
    assert not any(word in told for word in (word, SECRET, "127.0.0.1"))
    assert "\n" not in str(caught.value)
    assert ("renew them (400 ExpiredToken)" in told) == (status == 400)


def test_what_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering([], monkeypatch), pytest.raises(DecodeError, match="4 bytes; `max_bytes` allows 3") as caught:
        read_remote("s3:/bucket/a.jpg", 3)
    assert caught.value.code == "too_large"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The number of keys of a bucket of 12 folders, on a server of its own process."""
    folder, keys = tmp_path_factory.mktemp("photos"), 11_700
    make_photo(folder / "a.jpg", 1)
    command = [sys.executable, "-m", "bench.bucket_server", str(folder), str(keys), "--latency", "0"]
    with pytest.MonkeyPatch.context() as patch, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        environment(patch, f"http://127.0.0.1:{server.stdout.readline().decode().strip()}")
        open_bucket.cache_clear()
        yield keys
        server.terminate()
    open_bucket.cache_clear()


@pytest.mark.parametrize("ranges", [1, 3, 256])
def test_a_listing_in_ranges_is_the_listing(large: int, monkeypatch: pytest.MonkeyPatch, ranges: int) -> None:
    monkeypatch.setattr(bucket_module, "_RANGES", ranges)
    monkeypatch.setattr(bucket_module, "_AHEAD", 1)
    monkeypatch.setattr(bucket_module, "_AT_ONCE", 2)
    found = [each.key for each in listed(open_bucket("s3", "bench"), "")]
    assert found == [f"{i // 1000:06d}/{i:09d}.jpg" for i in range(large)]


def test_a_listing_is_bounded_and_can_be_left(large: int) -> None:
    listing = collect("s3://bench/")
    assert listing.count() == large
    first = next(iter(listing))
    assert (first.key, first.source, first.label) == (
        "000000/000000000.jpg",
        "s3:/bench/000000/000000000.jpg",
        "000000",
    )
    below = collect("s3://bench/000011")
    assert [item.key for item in islice(below, 2)] == ["000011000.jpg", "000011001.jpg"]
    assert below.count() == 700
    assert below.labelled


def test_a_listing_that_is_not_sorted_is_refused(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [*islice(listed(open_bucket("s3", "bench"), ""), 3)]
    monkeypatch.setattr(bucket_module, "listed", lambda *_: iter(found[::-1]))
    with pytest.raises(InputError, match="does not list in the order of the keys"):
        [*collect("s3://bench")]


@pytest.mark.parametrize(
    ("given", "place", "said"),
    [
        ("s3://bucket/photos/", "s3:/bucket/photos", "s3://bucket/photos"),
        ("s3:/bucket/a b", "s3:/bucket/a b", "s3://bucket/a b"),
        ("gs://bucket", "gs:/bucket", "gs://bucket"),
        ("https://", "https:", "https://"),
        ("https:", "https:", "https://"),
        ("https://host/a/../b", "https:/host/b", "https://host/b"),
    ],
)
def test_places_have_one_spelling(given: str, place: str, said: str) -> None:
    assert is_remote(given)
    assert is_remote(Path(given))
    assert absolute(given) == absolute(Path(given)) == place
    assert shown(place) == shown(given.rstrip("/") if "/../" not in given and given != "https://" else place) == said


@pytest.mark.parametrize(
    "given", ["https://me:word@host/a.jpg?sig=word", "https:/host/a.jpg?word", "s3://b/a.jpg?X-Amz-Signature=word&b=/c"]
)
def test_what_is_shown_holds_no_secret(given: str) -> None:
    assert "word" not in shown(given)
    assert shown(given).endswith("/a.jpg")
    with pytest.raises(InputError) as caught:
        absolute(given)
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("path", ["/a/s3:/b", "photos", "s3", "ftp://a/b", "a:b", "s3x://a"])
def test_paths_are_paths(path: str) -> None:
    assert not is_remote(path)
    assert absolute(path) == str(Path(path).absolute())
