"""Reads addresses of the web, which a list may have from anybody: only public ones, unless that is allowed.

The name is resolved once, every address that it has is looked at, and the connection goes to one of those: no second
answer of a name server can lead elsewhere. After a redirect all of it is done again.
"""

from __future__ import annotations

import errno
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from fxengine.collect.memory import require
from fxengine.errors import DecodeError
from fxengine.storage import WEB, Found, nanoseconds
from fxengine.trust import note_named, was_named

_WAIT = 15.0  # seconds for a connection, and between two pieces of an answer
_WHOLE = 300.0  # seconds for an answer
_TRIES, _PAUSE = 4, 0.5  # seconds before the second try, each further one twice that
_REDIRECTS = 5
SLASH = "\udc2f"  # a "/" in a place that a path would lose: one behind another, or at the end
_PIECE = 1 << 20
_PORT = 443
_FACTS = "bytes=0-0"  # the range that is asked for where only the facts are wanted
_RANGE = re.compile(r"bytes 0-\d{1,18}/(\d{1,18})", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)  # longer ones are none, and no int64 holds them
_AGAIN = frozenset({408, 425, 429})  # and all from 500 on
_SAFE = "/%:@!$&'()*+,;=~?"
_kept = threading.local()  # the last connection of each thread
_silent = set[str]()  # hosts that did not answer the last tries, each of which takes long: they are tried once then


class _Passing(OSError):
    """What another try may mend."""


class _Mute(_Passing):
    """That a host does not answer at all."""


class Host(NamedTuple):
    """Where a request goes."""

    name: str
    port: int


class _Socket(ssl.SSLSocket):
    """A connection whose answer has to be there in time, however slowly its pieces come."""

    end = float("inf")

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(min(_WAIT, left))
        return super().recv_into(*arguments, **named)


class _Connection(http.client.HTTPSConnection):
    """A connection to an address that was looked at; the certificate is that of the name."""

    def __init__(self, host: Host, address: str, *, private: bool) -> None:
        super().__init__(host.name, host.port, timeout=_WAIT)
        self.to = host, private
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), _WAIT)
        try:
            self.sock = _context().wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def facts_of(url: str, *, private: bool = False) -> Found:
    """Return what a server says of an address: asked for one byte, since not every server answers HEAD.

    Raises:
        FileNotFoundError: there is no such thing.
        PermissionError: it is refused, or its address is not public.
        OSError: the server failed, or is not there.
    """
    return _tried(url, None, private=private)[1]


def fetch(url: str, max_bytes: int, *, private: bool = False) -> tuple[bytes, Found]:
    """Return what an address holds, and what the server says of it.

    Args:
        url: the address.
        max_bytes: what is refused as too large.
        private: whether it may lie at a private address.

    Raises:
        DecodeError: it is larger than `max_bytes`.
        OSError: as `facts_of` does.
    """
    return _tried(url, max_bytes, private=private)


def fetch_range(url: str, begin: int, end: int, etag: str, *, private: bool = False) -> bytes:
    """Return the bytes of an address from `begin` to before `end`; raises OSError as `facts_of` does, and where it is
    another than `etag` says, or its server gives no ranges.
    """
    try:
        data, found = _tried(url, end - begin, private=private, span=f"bytes={begin}-{end - 1}")
    except DecodeError as error:
        raise OSError(errno.EIO, "the server gave more than was asked for") from error
    if etag and found.etag != etag:
        raise OSError(errno.ESTALE, "it was written anew meanwhile")
    return data


def _tried(url: str, most: int | None, *, private: bool, span: str = "") -> tuple[bytes, Found]:
    """Ask, and ask again where that may help; `most` is None where only the facts are wanted, `span` a range."""
    pause, name = _PAUSE, _parts(url)[0].name
    for left in reversed(range(1 if name in _silent else _TRIES)):
        try:
            found = _followed(url, most, span, private=private)
            _silent.discard(name)
            return found
        except _Passing as error:
            if not left:
                if isinstance(error, _Mute):
                    _silent.add(name)
                raise OSError(errno.EIO, error.strerror) from error
            time.sleep(pause)
            pause *= 2
    raise AssertionError("the last try returns or raises")


def _followed(url: str, most: int | None, span: str, *, private: bool) -> tuple[bytes, Found]:
    end, first = time.monotonic() + _WHOLE, True
    for _ in range(_REDIRECTS + 1):
        host, target = _parts(url)
        # A host that this user allowed before stays allowed, but no other may lead there.
        noted = first and was_named("private", f"{host.name}:{host.port}")
        connection, answer = _asked(host, target, end, _FACTS if most is None else span, private=private or noted)
        try:
            location = answer.headers.get("Location")
            if answer.status in (301, 302, 303, 307, 308) and location:
                url, first = _joined(f"{WEB}://{_netloc(host)}{target}", location), False
                continue
            if span and answer.status == 200:
                raise OSError(errno.EIO, f"{host.name} gives no ranges of files, which containers are read by")
            return _taken(answer, most, host)
        finally:
            _leave(connection, answer)
    raise OSError(errno.ELOOP, f"{host.name} redirects more than {_REDIRECTS} times")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise OSError(errno.EINVAL, "it leads to what is no address") from None


def _parts(url: str) -> tuple[Host, str]:
    """Return the host of an address, and what is asked of it; raises OSError."""
    if not url.startswith(f"{WEB}://"):  # it is a place
        url = url.replace(f"{WEB}:/", f"{WEB}://", 1).replace(SLASH, "/")
    try:
        parts = urlsplit(url)
        name, port = (parts.hostname or "").encode("idna").decode() if parts.hostname else "", parts.port or _PORT
    except ValueError:
        raise OSError(errno.EINVAL, "it is no address") from None  # which the error repeats, with its password
    if parts.scheme != WEB:
        raise PermissionError(errno.EACCES, f"it leads to {parts.scheme[:10]}://, and only https:// is read")
    if not name or parts.username is not None or parts.password is not None:
        raise PermissionError(errno.EACCES, "it names no host, or holds a name or a password")
    path = quote(parts.path or "/", _SAFE, errors="surrogateescape")
    return Host(name, port), path + (f"?{quote(parts.query, _SAFE, errors='surrogateescape')}" if parts.query else "")


def _netloc(host: Host) -> str:
    name = f"[{host.name}]" if ":" in host.name else host.name
    return name if host.port == _PORT else f"{name}:{host.port}"


def _asked(
    host: Host, target: str, end: float, span: str, *, private: bool
) -> tuple[_Connection, http.client.HTTPResponse]:
    """Return the connection and the answer to one request, for a range unless `span` is ""; raises OSError."""
    headers = {"User-Agent": "fxengine", "Accept-Encoding": "identity", "Accept": "*/*"}
    if span:
        headers["Range"] = span
    for connection in _connections(host, private=private):
        try:
            connection.request("GET", target, headers=headers)
            if isinstance(connection.sock, _Socket):
                connection.sock.end = end
            return connection, connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise OSError(errno.EIO, f"the certificate of {host.name} is not valid") from error
        except (OSError, http.client.HTTPException):
            connection.close()
    raise _Mute(errno.EIO, f"{host.name} does not answer")


def _connections(host: Host, *, private: bool) -> Iterator[_Connection]:
    """Yield the connection that this thread has to a host, if any, then one to each of its addresses."""
    kept: _Connection | None = getattr(_kept, "connection", None)
    _kept.connection = None
    if kept is not None and kept.to == (host, private):
        yield kept
    elif kept is not None:
        kept.close()
    for address in _addresses(host, private=private):
        yield _Connection(host, address, private=private)


def _addresses(host: Host, *, private: bool) -> tuple[str, ...]:
    """Return where a host lies; raises PermissionError where one of its addresses is not public, and OSError."""
    try:
        found = socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise _Passing(errno.EIO, f"the name {host.name} cannot be resolved now") from error
        raise FileNotFoundError(errno.ENOENT, f"there is no host {host.name}") from error
    except (OSError, UnicodeError) as error:
        raise OSError(errno.EIO, f"the name {host.name[:80]} cannot be resolved") from error
    addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
    hidden = [address for address in addresses if not is_public(address)]
    if hidden and not private:
        raise PermissionError(
            errno.EACCES, f"{host.name} lies at an address that is not public; `allow_private` reads such, too"
        )
    if hidden:
        note_named("private", f"{host.name}:{host.port}")
    return addresses


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the internet: no loopback, no private network, no service of a machine.

    One that stands for an IPv4 address (mapped, 6to4, Teredo, NAT64) is what that is.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in ipaddress.ip_network("64:ff9b::/96") or int(ip) >> 32 == 0:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(each is not None and not is_public(str(each)) for each in inner):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _taken(answer: http.client.HTTPResponse, most: int | None, host: Host) -> tuple[bytes, Found]:
    """Return what an answer holds and says; raises OSError, and DecodeError where it is too large."""
    _ensure_fine(answer.status, host)
    length = answer.headers.get("Content-Length", "")
    size = int(length) if _LENGTH.fullmatch(length) else -1
    if most is None:
        ranged = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        return b"", _found(answer, int(ranged[1]) if ranged else max(0, size))
    if size > most:
        raise DecodeError("too_large", f"{size} bytes; `max_bytes` allows {most}.")
    require(size, "Reading it")
    pieces, count = list[bytes](), 0
    try:
        while piece := answer.read(_PIECE):
            pieces.append(piece)
            count += len(piece)
            if count > most:
                raise DecodeError("too_large", f"Over {most} bytes; `max_bytes` allows {most}.")
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(errno.EIO, f"the answer of {host.name} did not come to its end in time") from error
    if count < size:
        raise _Passing(errno.EIO, f"the answer of {host.name} ended early")
    return b"".join(pieces), _found(answer, count)


def _ensure_fine(status: int, host: Host) -> None:
    """Raise OSError where an answer is none that holds what was asked for."""
    if status in (404, 410):
        raise FileNotFoundError(errno.ENOENT, f"{host.name} has no such file ({status})")
    if status in (401, 403, 451):
        raise PermissionError(errno.EACCES, f"{host.name} refuses it ({status})")
    if status in _AGAIN or status >= 500:
        raise _Passing(errno.EIO, f"{host.name} answered with an error, several times ({status})")
    if status not in (200, 206):
        raise OSError(errno.EIO, f"{host.name} answered in a way that is not understood ({status})")


def _found(answer: http.client.HTTPResponse, size: int) -> Found:
    written = 0
    with suppress(TypeError, ValueError, OverflowError):
        said = parsedate_to_datetime(answer.headers.get("Last-Modified", ""))
        written = nanoseconds(said if said.tzinfo else said.replace(tzinfo=UTC))
    etag = answer.headers.get("ETag", "")[:200]
    return Found("", size, written if -(2**63) < written < 2**63 else 0, etag if etag.isprintable() else "")


def _leave(connection: _Connection, answer: http.client.HTTPResponse) -> None:
    """Keep a connection for the next request of this thread where its answer was read to the end."""
    if not answer.isclosed() and (answer.length or 2) == 1:
        with suppress(OSError, http.client.HTTPException):
            answer.read()
    if answer.isclosed() and not answer.will_close:
        _kept.connection = connection
    else:
        connection.close()


@cache
def _context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.sslsocket_class = _Socket
    return made
