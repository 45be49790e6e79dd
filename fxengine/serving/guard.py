"""Who may ask: one person, by a link that works once, from the page itself, under the address that was printed.

A server on this machine can be reached by every page that a browser shows: by its port, and under any name that
somebody lets point here. So each request must name this host, carry the cookie that the link was turned into, and one
that changes something must come from the page itself and bring a second secret that only the page can read.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "SAMEORIGIN",
}
_ENTRANCE = (
    b'<!doctype html><html lang="en"><title>fxengine</title><link rel="icon" href="/static/icon.svg">'
    b'<meta http-equiv="refresh" content="0; url=/">'
    b'<a href="/">Open the page</a></html>'
)
TOKEN_HEADER = "x-fxengine-token"
_LONGEST = 100  # characters of a secret that is compared


class Keys:
    """The secrets of one run, and where it is reached.

    Attributes:
        host: the address that it listens on.
        port: the port.
        page: what the page brings with every POST.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.page = secrets.token_urlsafe(32)
        self._link: str | None = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)

    @property
    def cookie(self) -> str:
        """The cookie's name: cookies do not know ports, and two stores may be looked at."""
        return f"fxengine-{self.port}"

    @property
    def url(self) -> str:
        """The link that is printed; it opens the page once."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.port}/?token={self._link}"

    def take(self, token: str) -> str | None:
        """Return the session that a link's token opens, the first time; None where it is another, or was used."""
        if self._link is None or not _same(token, self._link):
            return None
        self._link = None
        return self._session

    def opens(self, cookies: str) -> bool:
        """Tell whether a Cookie header holds the session.

        A server beside this one may have put others of the name there, which shut nobody out. It is taken apart here:
        `http.cookies` takes seconds for a long one full of backslashes (CVE-2024-7592).
        """
        pairs = (each.strip().partition("=") for each in cookies.split(";"))
        return any(name == self.cookie and _same(value, self._session) for name, _, value in pairs)

    def is_here(self, host: str) -> bool:
        """Tell whether a Host header names this server.

        Where it listens for others it is reached by addresses that it does not know: any number will do, since a page
        elsewhere can only come by a name.
        """
        name, _, port = host.rpartition(":")
        if port != str(self.port):
            return False
        if _is_loopback(self.host):
            return name in ("127.0.0.1", "localhost", "[::1]")
        return name in (self.host, socket.gethostname()) or _is_address(name.strip("[]"))


class Guard:
    """An ASGI application around another one that lets through what may be asked, and marks what goes back."""

    def __init__(self, app: App, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = _headers(scope)
            if headers is None:
                await _refuse(send, 400, "A header is there twice.")
            elif scope["path"] == "/" and "token" in (words := _words(scope)) and self._keys.is_here(headers["host"]):
                await self._enter(send, headers, words["token"])
            elif (refused := self._refused(scope, headers)) is not None:
                await _refuse(send, *refused)
            else:
                await self._app(scope, receive, _marked(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refused(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Return status and sentence where a request may not be asked."""
        keys = self._keys
        if not keys.is_here(headers["host"]):
            return 400, "This server does not go by that name."
        if not keys.opens(headers["cookie"]):
            return 403, "Open the link that `fxengine serve` printed; it works once. If it was used, start serve again."
        if headers["sec-fetch-site"] not in ("", "same-origin", "none"):
            return 403, "Another page asked for this."
        if scope["method"] == "POST":
            if headers["origin"] != f"http://{headers['host']}":
                return 403, "Only the page itself may ask for this."
            if not _same(headers[TOKEN_HEADER], keys.page):
                return 403, "The page is of an earlier run: reload it."
        elif scope["method"] not in ("GET", "HEAD"):
            return 405, "There is only GET and POST."
        return None

    async def _enter(self, send: Send, headers: dict[str, str], token: str) -> None:
        """Turn the link's token into the cookie, and let the page be opened without it in the address.

        By a page that goes on by itself, no redirection: where the link stood on another site's page (a terminal in a
        browser), a browser sends the new cookie only to what our own page asks for.
        """
        session = self._keys.take(token)
        if session is None and not self._keys.opens(headers["cookie"]):
            await _refuse(send, 403, "This link was used already, or is of another run: start `fxengine serve` again.")
            return
        cookie = f"{self._keys.cookie}={session}; Path=/; HttpOnly; SameSite=Strict"
        further = [] if session is None else [(b"set-cookie", cookie.encode())]
        await _answer(send, 200, _ENTRANCE, [(b"content-type", b"text/html; charset=utf-8"), *further])


def _same(given: str, wanted: str) -> bool:
    return len(given) <= _LONGEST and compare_digest(given.encode(), wanted.encode())


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_private(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens there."""
    return _is_loopback(host)


def _headers(scope: Scope) -> dict[str, str] | None:
    """Return the headers that are looked at, "" where one is not there; None where one is there twice."""
    found = dict.fromkeys(("host", "cookie", "origin", "sec-fetch-site", TOKEN_HEADER), "")
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in found:
            if found[key]:
                return None
            found[key] = value.decode("latin-1")
    return found


def _words(scope: Scope) -> dict[str, str]:
    try:
        found = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def _marked(send: Send) -> Send:
    """Return what sends an answer with the headers that every answer has; what an answer says itself stays."""

    async def marked(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name for name, _ in message["headers"]}
            further = {**_HEADERS, "content-security-policy": POLICY, "cache-control": "no-store"}
            message["headers"] = [
                *message["headers"],
                *((name.encode(), value.encode()) for name, value in further.items() if name.encode() not in there),
            ]
        await send(message)

    return marked


async def _refuse(send: Send, status: int, said: str) -> None:
    await _answer(send, status, said.encode(), [(b"content-type", b"text/plain; charset=utf-8")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    marked = _marked(send)
    sized = [*headers, (b"content-length", str(len(body)).encode())]
    await marked({"type": "http.response.start", "status": status, "headers": sized})
    await marked({"type": "http.response.body", "body": body})
