"""Connections that bring no whole request, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from uvicorn import Config, Server

from fxengine.serving import connection
from fxengine.serving.connection import TimelyProtocol
from fxengine.serving.guard import Keys
from fxengine.serving.opened import Opened
from fxengine.serving.server import application
from tests.conftest import PATIENCE


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits two seconds for a request."""
    monkeypatch.setattr(connection, "SECONDS", 2.0)


@pytest.fixture
def keys(opened: Opened) -> Iterator[Keys]:
    """A server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Keys("127.0.0.1", listening.getsockname()[1])
        config = Config(application(opened, found), http=TimelyProtocol, lifespan="off", log_level="critical")
        server = Server(config)
        running = threading.Thread(target=server.run, args=([listening],))
        running.start()
        yield found
        server.should_exit = True
        running.join()


def _asked(keys: Keys, *pieces: bytes) -> bytes:
    """Return all that comes back on a connection that is never closed from here."""
    found = b""
    # What is too long is not read to its end, and the rest of it resets the connection.
    with socket.create_connection(("127.0.0.1", keys.port), timeout=PATIENCE) as opened, suppress(ConnectionError):
        for piece in pieces:
            opened.sendall(piece)
        while more := opened.recv(65_536):
            found += more
    return found


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("piece", [b"", b"GET / HTTP/1.1\r\nHost: 127", b"GET"])
def test_a_request_that_never_ends_is_not_waited_for(keys: Keys, piece: bytes) -> None:
    assert _asked(keys, piece) == b""


@pytest.mark.usefixtures("hasty")
def test_a_body_that_never_ends_is_not_waited_for(keys: Keys) -> None:
    head = f"POST /api/picture HTTP/1.1\r\nHost: 127.0.0.1:{keys.port}\r\nContent-Length: 99\r\n\r\n"
    assert _asked(keys, head.encode(), b"x").startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(keys: Keys, request_line: bytes) -> None:
    assert _asked(keys, request_line).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"GET /"])
def test_a_head_without_end_is_not_read_to_its_end(keys: Keys, head: bytes) -> None:
    assert _asked(keys, head, b"a" * 10_000_000)[:10] in (b"", b"HTTP/1.1 4")
