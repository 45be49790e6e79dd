"""An S3 server of its own process that waits before each answer, and generates its listing of as many keys as wanted.

python -m bench.bucket_server FOLDER KEYS [--latency 0.02]     prints the port; the pictures are those of FOLDER
python -m bench.bucket_server FOLDER 0 [--latency 0.02]        the keys are the files of FOLDER themselves
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

_A_FOLDER = 1000  # keys
_PAGE = 1000
_RESULT = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}{}</ListBucketResult>'
)
_RANGE = re.compile(rb"(?i)\r\nrange: bytes=(\d*)-(\d*)")
_TIME = "2026-11-28T10:00:00.000Z"
_HTTP_TIME = "Sat, 28 Nov 2026 10:00:00 GMT"


@dataclass(frozen=True)
class Keys:
    """What the bucket holds: keys "NNNNNN/NNNNNNNNN.jpg".

    Attributes:
        count: of the keys.
        contents: content and ETag of each, again and again.
    """

    count: int
    contents: list[tuple[bytes, str]]

    def key(self, number: int) -> str:
        """Return a key by its number."""
        return f"{number // _A_FOLDER:06d}/{number:09d}.jpg"

    def number(self, key: str) -> int | None:
        """Return the number of a key, None where there is no such."""
        digits = key[7:-4]
        number = int(digits) if digits.isdecimal() else self.count
        return number if number < self.count and self.key(number) == key else None

    def first_behind(self, after: str) -> int:
        """Return the number of the first key behind a text."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.key(middle) <= after else (low, middle)
        return low


@dataclass(frozen=True)
class Files:
    """A bucket that holds files: key -> content and ETag."""

    contents: dict[str, tuple[bytes, str]]


def listed_files(files: Files, asked: dict[str, str]) -> bytes:
    """Return all keys that lie in a folder, not below it, on one page."""
    prefix = asked.get("prefix", "")
    here = [key for key in sorted(files.contents) if key.startswith(prefix) and "/" not in key[len(prefix) :]]
    body = "".join(_entry(key, *files.contents[key]) for key in here)
    return _RESULT.format("<IsTruncated>false</IsTruncated>", body).encode()


def listed(keys: Keys, asked: dict[str, str]) -> bytes:
    """Return a page of a listing as ListObjectsV2 does."""
    prefix = asked.get("prefix", "")
    begin = keys.first_behind(asked.get("continuation-token") or asked.get("start-after") or prefix)
    if asked.get("delimiter") and not prefix:
        folders = -(-keys.count // _A_FOLDER)
        first = -(-begin // _A_FOLDER)
        shown = range(first, min(first + _PAGE, folders))
        body = "".join(f"<CommonPrefixes><Prefix>{i:06d}/</Prefix></CommonPrefixes>" for i in shown)
        end, more = shown.stop * _A_FOLDER - 1, shown.stop < folders
    else:
        end = min(begin + _PAGE, keys.count)
        while end > begin and not keys.key(end - 1).startswith(prefix):
            end = keys.first_behind(f"{prefix}\U0010ffff")
        body = "".join(map(partial(_entry_of, keys), range(begin, end)))
        more = end < keys.count and keys.key(end).startswith(prefix)
        end -= 1
    token = f"<NextContinuationToken>{keys.key(end)}</NextContinuationToken>" if more else ""
    return _RESULT.format(f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}", body).encode()


def _entry_of(keys: Keys, number: int) -> str:
    return _entry(keys.key(number), *keys.contents[number % len(keys.contents)])


def _entry(key: str, content: bytes, etag: str) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{_TIME}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"<Size>{len(content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def answered(keys: Keys | Files, method: str, target: str, headers: bytes) -> bytes:
    """Return the answer to a request."""
    parts = urlsplit(target)
    key = unquote(parts.path).lstrip("/").partition("/")[2]
    if not key:
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = listed(keys, asked) if isinstance(keys, Keys) else listed_files(keys, asked)
        return _with_head("200 OK", "Content-Type: application/xml\r\n", body, method)
    found = _object(keys, key)
    if found is None:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    (body, etag), wanted = found, _RANGE.search(headers)
    further = f'ETag: "{etag}"\r\nLast-Modified: {_HTTP_TIME}\r\n'
    if wanted is None:
        return _with_head("200 OK", further, body, method)
    size = len(body)
    begin, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted[1] else (max(0, size - int(wanted[2])), size)
    further += f"Content-Range: bytes {begin}-{min(end, size) - 1}/{size}\r\n"
    return _with_head("206 Partial Content", further, body[begin:end], method)


def _object(keys: Keys | Files, key: str) -> tuple[bytes, str] | None:
    if isinstance(keys, Files):
        return keys.contents.get(key)
    number = keys.number(key)
    return None if number is None else keys.contents[number % len(keys.contents)]


def _with_head(status: str, further: str, body: bytes, method: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\n{further}Content-Length: {len(body)}\r\n\r\n".encode()
    return head if method == "HEAD" else head + body


async def converse(
    keys: Keys | Files, latency: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the requests of a connection, each after a while."""
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = request.split(b" ", 2)
            await asyncio.sleep(latency)
            writer.write(answered(keys, method.decode(), target.decode(), request))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def serve(keys: Keys | Files, latency: float) -> None:
    """Serve until the process ends."""
    server = await asyncio.start_server(partial(converse, keys, latency), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("keys", type=int)
    parser.add_argument("--latency", type=float, default=0.02)
    options = parser.parse_args()
    pattern = "*.jpg" if options.keys else "*"
    files = [path for path in sorted(options.folder.rglob(pattern)) if path.is_file()]
    contents = {str(path.relative_to(options.folder)): _with_etag(path.read_bytes()) for path in files}
    keys = Keys(options.keys, [*contents.values()]) if options.keys else Files(contents)
    asyncio.run(serve(keys, options.latency))


def _with_etag(content: bytes) -> tuple[bytes, str]:
    return content, hashlib.md5(content, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    main()
