"""One writer at a time in a bucket: a lease, an object that says who writes, and that is renewed while it does.

A lease only spares work. Who lost it without knowing can do no harm: a new part is made only where none is, and a part
is written anew only in the state in which it was read.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fxengine.errors import StoreError, StoreLocked, explained
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.features.holder import Holder
from fxengine.features.run_folder import RUN_FOLDER
from fxengine.storage import Bucket, Found, open_bucket, shown, split

TERM = 60.0  # seconds that a lease holds unless it is renewed
_RENEWALS = 4  # in a term
_NAME = "lease"
_FORMAT = 1
_LONGEST = 4096  # bytes of a note
_ROUNDED = 1.0  # second by which servers round times
_PATIENCE = 5.0  # seconds that the end of a run waits for a renewal that is under way


@dataclass(frozen=True)
class _Note:
    """What a lease says.

    Attributes:
        holder: who holds it.
        term: the seconds that it holds from when it was last written.
        machine: what no other machine that is running has, or "" where a system does not say it.
        token: what no other lease has.
    """

    holder: Holder
    term: float
    machine: str
    token: str

    def __post_init__(self) -> None:
        if not 0 < self.term <= 3600:
            raise ValueError(f"'term' cannot be {self.term}")

    def is_dead(self) -> bool:
        """Tell whether it is known that the holder is gone: a process of this very machine, or a run of this one."""
        if not self.machine or self.machine != _machine():
            return False
        if self.holder.pid == os.getpid():
            return self.token not in _ours
        try:
            os.kill(self.holder.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


_ours = set[str]()  # tokens of the leases that this process holds


@contextmanager
def leased(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold the lease of a store in a bucket; yield what raises StoreLocked where it is lost.

    Raises:
        StoreLocked: another process holds it; says which, and how long.
        StoreError: the bucket cannot be written to, or cannot write on a condition.
    """
    scheme, name, key = split(folder)
    advice = "Look at the bucket's name, the credentials and the network, or choose another place as `store`."
    with explained(f"Cannot write to {shown(folder)}", advice, StoreError):
        bucket = open_bucket(scheme, name)
        lease = _Lease(folder, bucket, "/".join(filter(None, (key, RUN_FOLDER, _NAME))))
        lease.take(_try_out(bucket, folder, key))
    thread = threading.Thread(target=lease.keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lease.ensure_held
    finally:
        lease.release()


class _Lease:
    """The lease of a store; one thread renews it, and whoever writes asks whether it is held."""

    def __init__(self, folder: Path, bucket: Bucket, key: str) -> None:
        self._called, self._bucket, self._key = shown(folder), bucket, key
        self._note = _Note(Holder.here(), TERM, _machine(), secrets.token_hex(8))
        self._found: Found | None = None
        self._renewed = 0.0
        self._is_lost = False
        self._turn, self._ended = threading.Lock(), threading.Event()

    def take(self, now_ns: int) -> None:
        """Take the lease where nobody holds it, at a time of the server; raises StoreLocked, OSError."""
        with suppress(FileNotFoundError):
            found, content = self._bucket.get(self._key)
            self._refuse_held(found, content, now_ns)
            self._found = found
        _ours.add(self._note.token)
        if not self._write():
            raise StoreLocked(f"{self._called} is being written to by another process, which was a moment faster.")

    def _refuse_held(self, found: Found, content: Callable[[], bytes], now_ns: int) -> None:
        """Raise StoreLocked where somebody holds the lease: one that is empty was given back."""
        if not found.size:
            return
        note = _read(content()) if found.size <= _LONGEST else None
        left = (note.term if note else TERM) + _ROUNDED - (now_ns - found.mtime_ns) / 1e9
        if left <= 0 or (note is not None and note.is_dead()):
            return
        raise StoreLocked(
            f"{self._called} is being written to by {note.holder if note else 'another process'}. Wait for it, or stop "
            f"it; where it has died, what it holds the store by ends in {max(1, round(left))} seconds."
        )

    def keep(self) -> None:
        """Renew it until it is given back or lost."""
        while not self._ended.wait(self._note.term / _RENEWALS):
            with suppress(OSError), self._turn:  # of a network that is gone for a while `ensure_held` says it
                if self._ended.is_set() or self._is_lost:
                    return
                self._write()

    def ensure_held(self) -> None:
        """Raise StoreLocked where another process has taken the lease, StoreError where nobody answers for a term."""
        if not self._is_lost and _now() - self._renewed > self._note.term:
            with self._turn, explained(f"{self._called} cannot be written to any more", _GO_ON, StoreError):
                self._write()  # this process was stopped or cut off: it may be its own still
        if self._is_lost:
            raise StoreLocked(
                f"Another process writes to {self._called} by now: this one did not say in time that it was at work "
                f"(was it stopped?). {_GO_ON}"
            )

    def release(self) -> None:
        """Give it back, where it is held."""
        self._ended.set()
        _ours.discard(self._note.token)  # where it cannot be given back, the next run of this process takes it
        if not self._is_lost and self._turn.acquire(timeout=_PATIENCE):
            with suppress(OSError):  # then it ends by itself
                assert self._found is not None
                self._bucket.replace(b"", self._found)
            self._turn.release()

    def _write(self) -> bool:
        """Write the note where nobody else has written; tell whether that was so. Raises OSError."""
        begin, content = _now(), json.dumps({"format": _FORMAT, **asdict(self._note)}).encode()
        if self._found is None:
            made = self._bucket.create(self._key, content)
        else:
            made = self._bucket.replace(content, self._found)
        if made is None:  # or the answer to what this process wrote was lost
            there, read = self._bucket.get(self._key)
            made = there if there.size <= _LONGEST and read() == content else None
        if made is not None:
            self._found, self._renewed = made, begin
        self._is_lost = made is None
        return made is not None


_GO_ON = "What was committed stays; the same command goes on."


def _read(content: bytes) -> _Note | None:
    try:
        return facts_from(_Note, read_json(content), _FORMAT)
    except FactsError:
        return None


def _now() -> float:
    """Return the time in seconds, from any moment on; on Linux a machine that sleeps counts it, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _machine() -> str:
    """Return what tells this machine, and the processes that see each other on it, from all others; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        return hashlib.sha256(boot + os.fsencode(Path("/proc/self/ns/pid").readlink())).hexdigest()[:32]
    except OSError:
        return ""


def _try_out(bucket: Bucket, folder: Path, key: str) -> int:
    """Find out whether the server heeds the conditions of a write; return its time in nanoseconds.

    Raises:
        StoreError: it does not.
        OSError: it cannot be written to.
    """
    try:
        for _ in range(2):  # where an answer is lost, all is as if a condition did not hold
            now = _tried("/".join(filter(None, (key, RUN_FOLDER, f"probe-{secrets.token_hex(8)}"))), bucket)
            if now is not None:
                return now
    except OSError as error:
        if "501" not in str(error):
            raise
    raise StoreError(
        f"{shown(folder)} cannot hold a store: its server does not write on a condition (If-None-Match, If-Match), so "
        "that two writers could undo each other's work. Use a server that does, or a folder."
    )


def _tried(key: str, bucket: Bucket) -> int | None:
    """Return the server's time, None where conditions of writes do not hold."""
    try:
        first = bucket.create(key, b"1")
        now = bucket.stat(key).mtime_ns
        if first is None or bucket.replace(b"2", first) is None:
            return None
        held = bucket.create(key, b"3") is None and bucket.replace(b"4", first) is None
        return now if held else None
    finally:
        with suppress(OSError):  # whoever may not delete leaves one behind
            bucket.delete(key)
