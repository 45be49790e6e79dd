"""Buckets: what lies under `s3://`, `gs://` and `az://`, by obstore, and what a place that is no path is called.

A remote place is text as a path is: "s3:/bucket/photos/a.jpg", with one slash, as every path library leaves of
"s3://bucket/...". Errors are OSErrors, as those of a disk are, in a line without URLs or what a server said.
The seam for everything that lies in a bucket, be it read or written: no other file imports obstore.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from fxengine.errors import InputError

BUCKETS = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}  # scheme -> obstore's class
WEB = "https"
SORTED = ("s3", "gs")  # whose listings may begin anywhere
CREDENTIALS = {  # what the environment says them by
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, the path of a key file",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or another of Azure's ways",
}
PAGE = 1000  # keys that a request lists
_PLACE = re.compile(rf"({'|'.join([*BUCKETS, WEB])}|http):(?:/+(.*))?", re.DOTALL)
_QUERY = re.compile(r"\?[^/?=]*=")
_STATUS, _CODE = re.compile(r"status code: (\d{3})"), re.compile(r"<Code>(\w{1,60})</Code>")
_RETRIES = 4
_PATIENCE = timedelta(seconds=60)  # for a request with its retries; each waits 30 seconds for an answer
_INSTALL = "pip install 'fxengine[cloud]'"


class Found(NamedTuple):
    """What a server says of an object.

    Attributes:
        key: where it lies in its bucket.
        size: bytes.
        mtime_ns: when it was written, in nanoseconds, of which servers say whole seconds; 0 of what was just written.
        etag: what changes with its content, or "".
        version: what else a conditional write may have to name, or "".
    """

    key: str
    size: int
    mtime_ns: int
    etag: str
    version: str = ""


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Tell whether a place lies in a bucket or on the web; a folder here that is called "s3:" is a folder."""
    scheme, colon, _ = os.fspath(place).partition(":")
    known = bool(colon) and (scheme in BUCKETS or scheme in (WEB, "http"))
    return known and _PLACE.fullmatch(os.fspath(place)) is not None and not os.path.lexists(f"{scheme}:")


def absolute(place: str | os.PathLike[str]) -> str:
    """Return a place as it is noted and compared: an absolute path, or a remote place without a "/" at its end.

    Raises:
        InputError: it is empty, or a remote place leaves its bucket by "..", or holds a name and a password, or a
            query; neither is said again.
    """
    path = os.fspath(place)
    if not path:
        raise InputError("What is given is empty: give a path, or . for the folder that you are in.")
    if not is_remote(path):
        return os.path.abspath(path)
    scheme, inside = path.partition(":")[0], path.partition(":")[2].lstrip("/")
    if scheme == "http":
        raise InputError("http:// is not read, since what comes may be anybody's: give https://.")
    if "@" in inside.partition("/")[0]:
        raise InputError(
            f"What is given as {scheme}:// holds a name or a password: leave them away, and set them as the "
            "provider's tools want them (such as AWS_ACCESS_KEY_ID)."
        )
    if _QUERY.search(inside) or (scheme == WEB and "?" in inside):
        raise InputError(
            f"What is given as {scheme}:// has a query, which is never kept: leave it away"
            + (", or give addresses with queries in a `listing`." if scheme == WEB else ".")
        )
    if scheme in BUCKETS and inside.partition("/")[0] in ("", ".", ".."):
        raise InputError(f"{scheme}:// names no bucket: give {scheme}://BUCKET/FOLDER.")
    host, _, rest = inside.partition("/")
    if os.path.normpath(rest).partition("/")[0] == "..":
        raise InputError(f"What is given as {scheme}:// leaves {host} by its '..': name the other one itself.")
    return os.path.normpath(f"{scheme}:/{inside}") if inside else f"{scheme}:"


def shown(place: str | os.PathLike[str]) -> str:
    """Return a place as people write it ("s3://bucket/a"), without names, passwords and queries; a path as it is."""
    path = os.fspath(place)
    if not is_remote(path):
        return path
    scheme, _, inside = path.partition(":")
    host, slash, rest = inside.lstrip("/").partition("/")
    if scheme == WEB or _QUERY.search(rest):
        rest = rest.partition("?")[0]
    return f"{scheme}://{host.partition('?')[0].rpartition('@')[2]}{slash}{rest}"


def split(place: str | os.PathLike[str]) -> tuple[str, str, str]:
    """Return scheme, bucket or host, and the rest of a remote place."""
    found = _PLACE.fullmatch(os.fspath(place))
    assert found is not None, "it is remote"
    name, _, rest = (found[2] or "").partition("/")
    return found[1], name, rest


class Bucket:
    """A bucket that is open; any thread may ask, and each request is tried again where that may help.

    Attributes:
        called: its name in sentences.
        sorted: whether its listings come in the order of the keys' bytes and begin anywhere.
        unanswered: about how many requests in a row had no answer.
    """

    def __init__(self, scheme: str, name: str) -> None:
        """Take the credentials that there are; raises InputError where obstore is not installed, or cannot be used."""
        self.called, self.sorted, self.unanswered = f"{scheme}://{name}", scheme in SORTED, 0
        try:
            import obstore
            import obstore.exceptions
            import obstore.store
        except ImportError as error:
            raise InputError(f"Buckets are read by obstore, which is not installed: {_INSTALL}.") from error
        self._obstore = obstore
        kind: Any = getattr(obstore.store, BUCKETS[scheme])
        retry = {"max_retries": _RETRIES, "retry_timeout": _PATIENCE}
        try:
            further = _profile() if scheme == "s3" else {}
            self._store: Any = kind(name, retry_config=retry, **further)
        except InputError:
            raise
        except Exception:
            raise InputError(
                f"{self.called} cannot be opened: its name is wrong, or what the environment says. Set "
                f"{CREDENTIALS[scheme]}."
            ) from None

    def pages(self, prefix: str, after: str | None = None) -> Iterator[list[Found]]:
        """Yield what lies below a folder, a request at once, in the order of the server.

        Args:
            prefix: the folder, "" for all.
            after: begin behind this key.

        Raises:
            OSError: it is not there, is refused, or does not answer.
            InputError: a key is none that can be read.
        """
        stream = self._obstore.list(self._store, prefix or None, offset=after, chunk_size=PAGE)
        while page := self._asked(lambda: next(stream, None)):
            yield [_found(each) for each in page]

    def folders(self, prefix: str) -> list[str]:
        """Return the folders in a folder, their whole keys, sorted; raises OSError."""
        found = self._asked(lambda: self._obstore.list_with_delimiter(self._store, prefix or None))
        return sorted(found["common_prefixes"], key=str.encode)

    def files(self, prefix: str) -> list[Found]:
        """Return what lies in a folder, not below it, in the order of the server; raises OSError."""
        found = self._asked(lambda: self._obstore.list_with_delimiter(self._store, prefix or None))
        return [_found(each) for each in found["objects"]]

    def stat(self, key: str) -> Found:
        """Return what the server says of a key; raises OSError."""
        return _found(self._asked(lambda: self._obstore.head(self._store, key)))

    def get(self, key: str) -> tuple[Found, Callable[[], bytes]]:
        """Return what the server says of a key, and what gives all that it holds; both raise OSError."""
        got = self._asked(lambda: self._obstore.get(self._store, key))
        return _found(got.meta), lambda: bytes(self._asked(got.bytes))

    def tail(self, key: str, most: int) -> tuple[Found, bytes]:
        """Return what the server says of a key, and its last bytes, `most` or all of fewer; raises OSError."""
        if not self.sorted:  # Azure knows no ranges from the end
            found = self.stat(key)
            return found, self.range(found, max(0, found.size - most), found.size) if found.size else b""
        got = self._asked(lambda: self._obstore.get(self._store, key, options={"range": {"suffix": most}}))
        return _found(got.meta), bytes(self._asked(got.bytes))

    def stream(self, key: str) -> tuple[Found, Iterator[bytes]]:
        """Return what the server says of a key, and what it holds, some megabytes at once; both raise OSError."""
        got = self._asked(lambda: self._obstore.get(self._store, key))
        blocks = iter(got.stream())
        return _found(got.meta), map(bytes, iter(lambda: self._asked(lambda: next(blocks, b"")), b""))

    def range(self, found: Found, begin: int, end: int) -> bytes:
        """Return the bytes from `begin` to before `end` of the very state of an object that was found.

        Raises:
            OSError: it is not there, or was written anew since.
        """
        wanted = {"range": (begin, end), **({"if_match": found.etag} if found.etag else {})}
        got = self._asked(lambda: self._obstore.get(self._store, found.key, options=wanted))
        return bytes(self._asked(got.bytes))

    def create(self, key: str, content: bytes) -> Found | None:
        """Write an object where nothing has the key; return its state, None where something had the key.

        Of several that do so at once exactly one is told its state; one whose answer a network lost may be told None
        of what it made itself. Raises OSError.
        """
        for _ in range(_RETRIES):
            if made := self._put(key, content, "create"):
                return made
            with suppress(FileNotFoundError):  # a 409 says as well that another one was about to write, and did not
                self.stat(key)
                return None
        raise OSError(errno.EIO, "others write the same key again and again")

    def replace(self, content: bytes, found: Found) -> Found | None:
        """Write an object anew where it still is as it was found; return its state, None where it is another.

        As of `create`, an answer may be lost. Raises OSError.
        """
        version = {name: value for name, value in (("e_tag", found.etag), ("version", found.version)) if value}
        return self._put(found.key, content, version)

    def put(self, key: str, content: bytes) -> None:
        """Write an object, whatever was there; raises OSError."""
        self._put(key, content, "overwrite")

    def _put(self, key: str, content: bytes, mode: Any) -> Found | None:
        """Return the state of what was written, None where the condition of a mode did not hold."""

        def ask() -> Any:
            try:
                return self._obstore.put(self._store, key, content, mode=mode, use_multipart=False)
            except (self._obstore.exceptions.AlreadyExistsError, self._obstore.exceptions.PreconditionError):
                return None

        made = self._asked(ask)
        return Found(key, len(content), 0, made["e_tag"] or "", made["version"] or "") if made is not None else None

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error. Raises OSError."""
        with suppress(FileNotFoundError):
            self._asked(lambda: self._obstore.delete(self._store, key))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            answer = ask()
        except Exception as error:
            explained = self._error(error)
            told = isinstance(explained, FileNotFoundError | PermissionError)
            self.unanswered = 0 if told else self.unanswered + 1  # about: threads count without a lock
            raise explained from None  # what obstore says has addresses, which may hold a signature
        self.unanswered = 0
        return answer

    def _error(self, error: Exception) -> Exception:
        """Return an error of obstore as one of the system: what it says itself has URLs and many lines."""
        said, kind = str(error), type(error).__name__
        if kind == "InvalidPathError":
            return InputError(
                f'{self.called} has keys with "//", "/./" or "/../", which cannot be listed: rename them, or give a '
                "folder without."
            )
        status = next(iter(_STATUS.findall(said)), "")
        code = next(iter(_CODE.findall(said)), "")
        answer = f" ({' '.join(filter(None, (status, code)))})" if status else ""
        if "169.254.169.254" in said or "metadata.google" in said:
            return PermissionError(errno.EACCES, "no credentials were found")
        if code in ("NoSuchBucket", "ContainerNotFound"):
            return FileNotFoundError(errno.ENOENT, f"there is no bucket {self.called}")
        if isinstance(error, FileNotFoundError) or status == "404" or "NotFound" in kind or kind == "ValueError":
            return FileNotFoundError(errno.ENOENT, f"it is not there{answer}")
        if kind == "PreconditionError":
            return OSError(errno.ESTALE, "it was written anew meanwhile")
        if status in ("401", "403") or isinstance(error, PermissionError) or kind.startswith(("Perm", "Unauth")):
            return PermissionError(errno.EACCES, f"the server refuses these credentials{answer}")
        if status == "416" or "non-partial" in said:  # of an object without bytes none can be asked for
            return OSError(errno.EINVAL, "it is empty")
        return OSError(errno.EIO, _unanswered(said, kind, answer))


def _unanswered(said: str, kind: str, answer: str) -> str:
    """Return why a server gave nothing, or no more than an error."""
    if "Token" in answer:  # AWS says so by 400; a run that reads stops by it as where the network is gone
        return f"these credentials have expired, or are none: renew them{answer}"
    if answer:
        return f"the server answered with an error, several times{answer}"
    if "timed out" in said or "timeout" in kind.lower() or "deadline" in said:
        return "the server did not answer in time"
    if "error sending request" in said or "onnect" in said:
        return "the server cannot be reached"
    return "the server's answer ended early, or cannot be understood"


class Upload:
    """A file of this machine that becomes an object by one request.

    Attributes:
        path: where to write.
    """

    def __init__(self, bucket: Bucket, key: str, read: Found | None) -> None:
        """Begin, with the state in which an object that is written anew was read, or None; raises OSError."""
        self._bucket, self._key = bucket, key
        self._found = read if read is not None else self._there()
        handle, name = tempfile.mkstemp(prefix="fxengine-")
        os.close(handle)
        self.path = Path(name)

    def commit(self) -> None:
        """Write it where nothing has changed since this began: of two that replace one object one fails."""
        content = self.path.read_bytes()
        if not self._put(content) and not self._is_ours(content):
            raise OSError(errno.ESTALE, "Another process wrote it meanwhile", f"{self._bucket.called}/{self._key}")

    def create(self) -> bool:
        """Write it where nothing is, or what was emptied; tell whether that was so. Raises OSError."""
        if self._found is not None and self._found.size:
            return False
        return self._put(self.path.read_bytes())  # over what was ended, too

    def _put(self, content: bytes) -> bool:
        if self._found is None:
            return self._bucket.create(self._key, content) is not None
        return self._bucket.replace(content, self._found) is not None

    def _is_ours(self, content: bytes) -> bool:
        """Tell whether what is there is what was to be written: the answer of a server may have been lost."""
        there = self._there()
        return there is not None and there.size == len(content) and self._bucket.get(self._key)[1]() == content

    def _there(self) -> Found | None:
        try:
            return self._bucket.stat(self._key)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


@lru_cache(32)
def open_bucket(scheme: str, name: str) -> Bucket:
    """Return a bucket; raises InputError as `Bucket` does."""
    return Bucket(scheme, name)


def _profile() -> dict[str, Any]:
    """Return what the credentials of a profile are read by, where there is one and the environment has none itself."""
    named = os.environ.get("AWS_PROFILE")
    there = named or any((Path.home() / ".aws" / name).is_file() for name in ("credentials", "config"))
    if not there or "AWS_ACCESS_KEY_ID" in os.environ or os.environ.get("AWS_SKIP_SIGNATURE"):
        return {}
    if importlib.util.find_spec("boto3") is None:
        if named:
            raise InputError(
                "AWS_PROFILE is set, and profiles are read by boto3, which is not installed: pip install boto3."
            )
        return {}
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return {"credential_provider": Boto3CredentialProvider(boto3.session.Session())}
    except Exception as error:
        if named:
            raise InputError("The profile that AWS_PROFILE names has no credentials that can be used.") from error
        return {}


def _found(meta: Any) -> Found:
    etag = meta["e_tag"] or ""
    if etag and not etag.endswith('"'):  # Azure's listings leave the quotes away that its other answers have
        etag = f'"{etag}"'
    return Found(meta["path"], int(meta["size"]), nanoseconds(meta["last_modified"]), etag, meta.get("version") or "")


def nanoseconds(time: datetime) -> int:
    """Return a time as nanoseconds since 1970, exact to the microsecond."""
    since = time - datetime.fromtimestamp(0, time.tzinfo)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
