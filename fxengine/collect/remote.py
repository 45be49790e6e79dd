"""Reads places in buckets and on the web as `stored` reads those on a disk."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from io import BufferedReader
from pathlib import Path

from fxengine.collect.memory import require
from fxengine.collect.ranges import Ranges
from fxengine.collect.web import facts_of, fetch, fetch_range
from fxengine.errors import DecodeError, InputError
from fxengine.storage import BUCKETS, CREDENTIALS, WEB, Bucket, Found, open_bucket, shown, split

_GONE = 100  # reads without an answer, one after the other, after which the network is taken for gone
_BUFFER = 1 << 16  # bytes
_FRESH, _MOST_TOLD = 10.0, 1000  # seconds that what is said of a container holds, and of how many it is kept
_told = dict[str, tuple[float, Found | FileNotFoundError]]()


def read_remote(place: str, max_bytes: int, *, url: str | None = None, private: bool = False) -> tuple[bytes, Found]:
    """Return what a remote place holds, and what the server says of it.

    Args:
        place: the place.
        max_bytes: what is refused as too large.
        url: its whole address on the web, with its query.
        private: whether it may lie at a private address.

    Raises:
        DecodeError: it is gone, may not be read, is larger than `max_bytes`, or the server failed.
        InputError: obstore is not installed, or the network seems to be gone.
    """
    scheme, name, key = split(place)
    bucket = None
    try:
        if scheme == WEB:
            return fetch(url or place, max_bytes, private=private)
        bucket = open_bucket(scheme, name)
        found, read = bucket.get(key)
        if found.size > max_bytes:
            raise DecodeError("too_large", f"{found.size} bytes; `max_bytes` allows {max_bytes}.")
        require(found.size, "Reading it")
        return read(), found
    except OSError as error:
        raise _refusal(error, bucket) from error
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to read it.") from error


def stat_remote(place: str, *, url: str | None = None, private: bool = False) -> Found:
    """Return what the server says of a remote place; raises OSError, and InputError as `read_remote` does."""
    scheme, name, key = split(place)
    if scheme == WEB:
        return facts_of(url or place, private=private)
    return open_bucket(scheme, name).stat(key)


def stat_container(place: str, *, url: str | None = None, private: bool = False, fresh: bool = False) -> Found:
    """Return what the server says of a container, as it did within the last seconds unless it is asked `fresh`.

    Every read of a member would ask otherwise. Raises OSError and InputError as `stat_remote` does.
    """
    told = _told.get(place)
    if told is None or fresh or time.monotonic() - told[0] > _FRESH:
        try:
            found: Found | FileNotFoundError = stat_remote(place, url=url, private=private)
        except FileNotFoundError as error:
            found = error
        told = note_container(place, found)
    if isinstance(told[1], FileNotFoundError):
        raise FileNotFoundError(told[1].errno, told[1].strerror)
    return told[1]


def note_container(place: str, found: Found | FileNotFoundError) -> tuple[float, Found | FileNotFoundError]:
    """Take in what a server has just said of a container, as `stat_container` is to tell it."""
    while len(_told) >= _MOST_TOLD:
        _told.pop(next(iter(_told), ""), None)
    _told[place] = (time.monotonic(), found)
    return _told[place]


def forget_container(place: str) -> None:
    """Ask the server anew the next time."""
    _told.pop(place, None)


def open_ranges(place: str, found: Found, *, url: str | None = None, private: bool = False) -> BufferedReader:
    """Return a remote file that is read by ranges, in the state that was found; another one raises OSError."""
    scheme, name, _ = split(place)
    state = f"{found.etag} {found.size} {place}" if found.etag else ""
    if scheme == WEB:

        def fetch_web(begin: int, end: int) -> bytes:
            return fetch_range(url or place, begin, end, found.etag, private=private)

        return BufferedReader(Ranges(found.size, state, fetch_web), _BUFFER)
    bucket = open_bucket(scheme, name)
    return BufferedReader(Ranges(found.size, state, lambda begin, end: bucket.range(found, begin, end)), _BUFFER)


def ensure_answered(place: str) -> None:
    """Raise InputError where the bucket that a place lies in has not answered for long."""
    scheme, name, _ = split(place)
    if scheme in BUCKETS and open_bucket(scheme, name).unanswered >= _GONE:
        raise _gone(open_bucket(scheme, name), "the containers in it cannot be read")


def open_remote(place: str) -> tuple[BufferedReader, int]:
    """Return what a remote place holds as a temporary file without a name, and its mtime_ns; raises OSError."""
    scheme, name, key = split(place)
    with tempfile.TemporaryFile(prefix="fxengine-") as kept:
        if scheme == WEB:
            data, found = fetch(place, sys.maxsize)
            kept.write(data)
        else:
            found, blocks = open_bucket(scheme, name).stream(key)
            kept.writelines(blocks)
        kept.seek(0)
        return open(os.dup(kept.fileno()), "rb"), found.mtime_ns  # noqa: PTH123 - of a handle; who asked closes it


def _refusal(error: OSError, bucket: Bucket | None) -> DecodeError:
    if isinstance(error, FileNotFoundError):
        return DecodeError("vanished", f"It cannot be read: {error.strerror}.")
    if isinstance(error, PermissionError):
        return DecodeError("permission", f"It cannot be read: {error.strerror}.")
    if bucket is not None and bucket.unanswered >= _GONE:
        raise _gone(bucket, str(error.strerror)) from error
    return DecodeError("io", f"Reading failed: {error.strerror}.")


def _gone(bucket: Bucket, why: str) -> InputError:
    return InputError(
        f"The last {_GONE} reads of {bucket.called} had no answer ({why}): the network, or the server, is gone. What "
        "was computed is kept: run the same command again."
    )


def kind_of(place: str) -> str | None:
    """Return what a place in a bucket is, "file" or "folder"; None where there is nothing.

    Raises:
        InputError: the bucket is not there, refuses, or does not answer.
    """
    scheme, name, key = split(place)
    bucket = open_bucket(scheme, name)
    try:
        if key and _is_key(bucket, key):
            return "file"
        return "folder" if next(bucket.pages(key), None) else None
    except OSError as error:
        raise refused(Path(place), error) from error


def _is_key(bucket: Bucket, key: str) -> bool:
    try:
        bucket.stat(key)
    except (FileNotFoundError, PermissionError):  # who may only list is refused; who may only read finds out below
        return False
    return True


def refused(place: Path, error: OSError) -> InputError:
    """Return what to say where a bucket cannot be listed."""
    if isinstance(error, PermissionError):
        advice = f"Set credentials that may list it: {CREDENTIALS[split(shown(place))[0]]}."
    elif isinstance(error, FileNotFoundError):
        advice = "Look at its name, and at the region or the endpoint (AWS_REGION, AWS_ENDPOINT_URL)."
    else:
        advice = "Look at the network and the endpoint (AWS_ENDPOINT_URL), and run the same command again."
    return InputError(f"{shown(place)} cannot be read: {error.strerror}. {advice}")
