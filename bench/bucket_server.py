"""An S3 server of its own process that waits before each answer, and generates its listing of as many keys as wanted.

python -m bench.bucket_server FOLDER KEYS [--latency 0.02]     prints the port; the pictures are those of FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

_A_FOLDER = 1000  # keys
_PAGE = 1000
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
        body = "".join(map(partial(_entry, keys), range(begin, end)))
        more = end < keys.count and keys.key(end).startswith(prefix)
        end -= 1
    token = f"<NextContinuationToken>{keys.key(end)}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{body}</ListBucketResult>"
    ).encode()


def _entry(keys: Keys, number: int) -> str:
    content, etag = keys.contents[number % len(keys.contents)]
    return (
        f"<Contents><Key>{keys.key(number)}</Key><LastModified>{_TIME}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"<Size>{len(content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def answered(keys: Keys, method: str, target: str) -> bytes:
    """Return the answer to a request."""
    parts = urlsplit(target)
    key = unquote(parts.path).lstrip("/").partition("/")[2]
    if not key:
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body, further = listed(keys, asked), "Content-Type: application/xml\r\n"
    elif (number := keys.number(key)) is not None:
        body, etag = keys.contents[number % len(keys.contents)]
        further = f'ETag: "{etag}"\r\nLast-Modified: {_HTTP_TIME}\r\n'
    else:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    head = f"HTTP/1.1 200 OK\r\n{further}Content-Length: {len(body)}\r\n\r\n".encode()
    return head if method == "HEAD" else head + body


async def converse(keys: Keys, latency: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of a connection, each after a while."""
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = request.split(b" ", 2)
            await asyncio.sleep(latency)
            writer.write(answered(keys, method.decode(), target.decode()))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def serve(keys: Keys, latency: float) -> None:
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
    files = [path.read_bytes() for path in sorted(options.folder.rglob("*.jpg"))]
    contents = [(data, hashlib.md5(data, usedforsecurity=False).hexdigest()) for data in files]
    asyncio.run(serve(Keys(options.keys, contents), options.latency))


if __name__ == "__main__":
    main()
