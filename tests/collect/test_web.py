"""Addresses of the web: only public ones are reached, whatever names and redirects say; nothing secret is kept."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine import FeatureStore, extract, predict, search, verify
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import web
from fxengine.errors import DecodeError, InputError
from tests.conftest import PATIENCE, make_photo
from tests.places import in_tar, in_zip

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
NAMED = ("photos.example", "other.example", "rebound.example")


class Web:
    """An https server on this machine, and the names that lead to it.

    Attributes:
        answers: path -> what to answer.
        asked: paths with their queries, as they came.
        addresses: host -> what its name is resolved to.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.addresses: dict[str, list[str]] = {name: ["127.0.0.1"] for name in NAMED}
        self.port = 0

    def url(self, path: str, host: str = NAMED[0]) -> str:
        return f"https://{host}:{self.port}{path}"

    def holds(self, path: str, content: bytes, etag: str = '"one"') -> None:
        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.send_header("ETag", etag)
            handler.send_header("Last-Modified", "Sat, 28 Nov 2026 10:00:00 GMT")
            handler.end_headers()
            handler.wfile.write(content)

        self.answers[path] = answer

    def says(self, path: str, status: int, **headers: str) -> None:
        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        self.answers[path] = answer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of this server's own, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, NAMED)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def served(certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    found = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.asked.append(self.path)
            path = self.path.partition("?")[0]
            if path in found.answers:
                found.answers[path](self)
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    found.port = server.server_port
    real = socket.getaddrinfo

    def resolved(host: str, port: int, *further: Any, **options: Any) -> Any:
        return [
            each for address in found.addresses.get(host, [host]) for each in real(address, port, *further, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(web, "_PAUSE", 0.01)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    web._context.cache_clear()
    web._kept.connection = None
    web._silent.clear()
    yield found
    server.shutdown()
    server.server_close()
    web._context.cache_clear()
    web._kept.connection = None


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert web.is_public(address) is public


@given(st.ip_addresses(v=4))
def test_no_form_of_an_address_that_is_not_public_is(address: ipaddress.IPv4Address) -> None:
    if not web.is_public(str(address)):
        for form in (f"::ffff:{address}", str(ipaddress.IPv6Address((0x64FF9B << 96) + int(address)))):
            assert not web.is_public(form)


def test_no_private_address_is_reached(served: Web) -> None:
    served.holds("/a.jpg", b"secret")
    for hidden in (["127.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["::1"], ["10.0.0.1"]):
        served.addresses[NAMED[0]] = hidden
        with pytest.raises(PermissionError, match="not public; `allow_private` reads such"):
            web.fetch(served.url("/a.jpg?token=word"), 100)
    for url in (
        "https://127.0.0.1/a",
        "https://[::1]/a",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
    ):
        with pytest.raises(OSError, match=r"not public|cannot be resolved|no host"):
            web.fetch(url, 100)
    assert served.asked == []


def test_a_redirect_is_looked_at_as_the_first_address_is(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "is_public", lambda address: address != "127.0.0.2")
    served.addresses["inside.example"] = ["127.0.0.2"]
    served.holds("/a.jpg", b"fine")
    for path, to in (("/in", f"https://inside.example:{served.port}/a.jpg"), ("/plain", "http://photos.example/a.jpg")):
        served.says(path, 302, Location=to)
        with pytest.raises(PermissionError, match=r"not public|only https"):
            web.fetch(served.url(path), 100)
    served.says("/fine", 301, Location="/a.jpg")
    assert web.fetch(served.url("/fine"), 100)[0] == b"fine"
    for path, to in (("/odd", "https://[odd"), ("/port", "https://photos.example:word/")):
        served.says(path, 302, Location=to)
        with pytest.raises(OSError, match="no address"):
            web.fetch(served.url(path), 100)
    served.says("/loop", 302, Location="/loop")
    with pytest.raises(OSError, match="redirects more than 5 times"):
        web.fetch(served.url("/loop"), 100)
    assert "/a.jpg" in served.asked
    assert not any("inside" in path for path in served.asked)


def test_a_name_is_resolved_once(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[str]()

    def is_public(address: str) -> bool:
        seen.append(address)
        return True

    monkeypatch.setattr(web, "is_public", is_public)
    served.holds("/a.jpg", b"fine")
    real, answers = socket.getaddrinfo, iter([["127.0.0.1"], ["127.0.0.9"]])

    def rebound(host: str, port: int, *further: Any, **options: Any) -> Any:
        if host == NAMED[2]:
            served.addresses[host] = next(answers)
        return real(host, port, *further, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    assert web.fetch(served.url("/a.jpg", NAMED[2]), 100)[0] == b"fine"
    assert seen == ["127.0.0.1"]


def test_failures_that_pass_are_tried_again_and_others_are_not(served: Web) -> None:
    served.holds("/good", b"fine")
    good, left = served.answers["/good"], [503, 429]

    def at_third(handler: http.server.BaseHTTPRequestHandler) -> None:
        if not left:
            return good(handler)
        handler.send_response(left.pop())
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return None

    served.answers["/third"] = at_third
    assert web.fetch(served.url("/third"), 100, private=True)[0] == b"fine"
    for path, status, kind in (
        ("/gone", 404, FileNotFoundError),
        ("/refused", 403, PermissionError),
        ("/odd", 418, OSError),
    ):
        served.says(path, status)
        served.asked.clear()
        with pytest.raises(kind, match=str(status)):
            web.fetch(served.url(path), 100, private=True)
        assert len(served.asked) == 1
    served.says("/busy", 500)
    with pytest.raises(OSError, match="several times"):
        web.fetch(served.url("/busy"), 100, private=True)

    def short(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.close_connection = True

    served.answers["/short"] = short
    with pytest.raises(OSError, match="ended early"):
        web.fetch(served.url("/short"), 100, private=True)


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_length_of_endless_digits_is_none(served: Web, digits: int) -> None:
    def says(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Length", "9" * digits)
        handler.send_header("Content-Range", f"bytes 0-0/{'9' * digits}")
        handler.end_headers()
        handler.wfile.write(b"fine")
        handler.close_connection = True

    served.answers["/long"] = says
    assert web.facts_of(served.url("/long"), private=True).size == 0
    assert web.fetch(served.url("/long"), 100, private=True)[0] == b"fine"


def test_what_is_too_large_or_too_slow_ends(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    served.holds("/large", b"x" * 101)

    def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * 4096)
        handler.close_connection = True

    served.answers["/endless"] = endless
    for path in ("/large", "/endless"):
        with pytest.raises(DecodeError) as caught:
            web.fetch(served.url(path), 100, private=True)
        assert caught.value.code == "too_large"

    def slow(handler: http.server.BaseHTTPRequestHandler) -> None:
        with suppress(OSError):  # until the client is gone
            for _ in range(20 * int(PATIENCE)):
                handler.wfile.write(b"H")
                handler.wfile.flush()
                time.sleep(0.05)

    served.answers["/slow"] = slow
    monkeypatch.setattr(web, "_WHOLE", 0.2)
    monkeypatch.setattr(web, "_TRIES", 1)
    begin = time.monotonic()
    with pytest.raises(OSError, match="does not answer"):
        web.fetch(served.url("/slow"), 100, private=True)
    assert time.monotonic() - begin < PATIENCE / 2


def test_rows_of_a_list_and_what_the_store_says_of_them(served: Web, tmp_path: Path, tiny: BackboneFile) -> None:
    photos = {f"/p/{i}.jpg": make_photo(tmp_path / "made.jpg", i).read_bytes() for i in range(4)}
    for path, content in photos.items():
        served.holds(path, content)
    served.holds("/p//5.jpg", photos["/p/0.jpg"])
    listing, store = tmp_path / "urls.txt", tmp_path / "store"
    addresses = [f"{served.url(path)}?X-Amz-Signature=secretword{i}" for i, path in enumerate(photos)]
    listing.write_text("\n".join([*addresses, served.url("/p/gone.jpg"), served.url("/p//5.jpg#top"), ""]))
    summary = extract("https://", store, backbone=tiny.path, listing=listing, allow_private=True)
    assert (summary.extracted, summary.failed) == (5, {"vanished": 1})
    assert any("secretword0" in path for path in served.asked)
    opened, host = FeatureStore.open(store), f"{NAMED[0]}:{served.port}"
    ids = opened.rows(["id"])["id"].to_pylist()
    assert ids == sorted([*(host + path for path in photos), f"{host}/p/gone.jpg", f"{host}/p\\x2f/5.jpg"])
    assert opened.provenance.root == "https://"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != listing)
    assert b"secretword" not in kept

    again = extract("https://", store, backbone=tiny.path, listing=listing, allow_private=True)
    assert (again.unchanged, again.extracted) == (5, 0)
    served.holds("/p/1.jpg", make_photo(tmp_path / "made.jpg", 9).read_bytes(), etag='"two"')
    assert extract("https://", store, backbone=tiny.path, listing=listing, allow_private=True).changed == 1
    # A host that was allowed once is read again without being named.
    report = verify(store, sample=6, backbone=tiny.path)
    assert (report.sampled, report.changed, report.wrong) == (5, [], {})
    asked = search(store, [served.url("/p/2.jpg")], backbone=tiny.path, k=1)
    assert asked.answers[0].neighbours[0].id == f"{host}/p/2.jpg"
    assert predict(served.url("/p/2.jpg"), backbone=tiny.path).failed == 0


def ranged(content: bytes) -> Answer:
    """Return what answers with the range that is asked for."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        begin, end = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
        part = content[begin : end + 1]
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(part)))
        handler.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(content)}")
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(part)

    return answer


@pytest.mark.slow
def test_containers_that_a_list_names_are_read_by_ranges(
    served: Web, photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    served.answers["/p/a.tar"] = ranged(in_tar(photos, tmp_path / "a.tar").read_bytes())
    served.answers["/p/b.zip"] = ranged(in_zip(photos, tmp_path / "b.zip").read_bytes())
    listing, store = tmp_path / "urls.txt", tmp_path / "store"
    listing.write_text(f"{served.url('/p/a.tar?token=word')}\n{served.url('/p/b.zip')}\n")
    asked = {"backbone": tiny.path, "listing": listing, "containers": True, "allow_private": True}
    place = served.url("/p")
    assert extract(place, store, **asked).extracted == 40  # type: ignore[arg-type]
    assert all("token=word" in path for path in served.asked if "a.tar" in path)
    expected = extract(tmp_path / "a.tar", tmp_path / "disk", backbone=tiny.path)
    assert expected.extracted == 20
    columns = ["id", "label", "size", "content_hash"]
    found = FeatureStore.open(store).rows(columns).to_pylist()
    assert found[:20] == FeatureStore.open(tmp_path / "disk").rows(columns).to_pylist()
    assert extract(place, store, **asked).unchanged == 40  # type: ignore[arg-type]
    assert b"word" not in b"".join(path.read_bytes() for path in store.iterdir() if path.is_file())
    report = verify(store, sample=40, backbone=tiny.path)
    assert (report.sampled, report.changed, report.wrong) == (40, [], {})
    assert extract(served.url("/p/b.zip"), tmp_path / "one", backbone=tiny.path, allow_private=True).extracted == 20
    served.holds("/p/a.tar", (tmp_path / "a.tar").read_bytes())  # which knows no ranges
    with pytest.raises(InputError, match=r"gives no ranges of files, which containers are read by"):
        extract(place, tmp_path / "other", **asked)  # type: ignore[arg-type]


def test_private_addresses_are_rows_that_say_so(served: Web, tmp_path: Path, tiny: BackboneFile) -> None:
    listing = tmp_path / "urls.csv"
    listing.write_text(f"path\n{served.url('/a.jpg')}\n")
    summary = extract("https://", tmp_path / "store", backbone=tiny.path, listing=listing)
    assert summary.failed == {"permission": 1}
    assert "not public" in str(next(iter(FeatureStore.open(tmp_path / "store").errors()))["error"])
    assert served.asked == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("https://a.example/x?id=1\nhttps://a.example/x?id=2\n", "differ only in what stands behind the '\\?'"),
        ("https://me:word@a.example/x\n", "Address 1 of the list .* holds a name or a password"),
        ("a.example/x\nhttp://a.example/x\n", "Address 2 .* does not begin with https://"),
        ("https://a.example:port/x\n", "Address 1 .* is none"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, tiny: BackboneFile, lines: str, said: str) -> None:
    listing = tmp_path / "urls.txt"
    listing.write_text(lines)
    with pytest.raises(InputError, match=said) as caught:
        extract("https://", tmp_path / "store", backbone=tiny.path, listing=listing)
    assert "word@" not in str(caught.value)


def test_a_list_of_addresses_is_none_of_a_folder(tmp_path: Path, tiny: BackboneFile) -> None:
    listing = tmp_path / "urls.txt"
    listing.write_text("https://a.example/x?token=word\n")
    with pytest.raises(InputError, match="such as https://, as `inputs`") as caught:
        extract(tmp_path, tmp_path / "store", backbone=tiny.path, listing=listing)
    assert "word" not in str(caught.value)
