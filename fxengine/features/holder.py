"""Who writes to a store, as its lock and its lease have it noted."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Holder:
    """Who holds a store: its process, its machine, and since when, in seconds since 1970."""

    pid: int
    host: str
    since: float

    def __post_init__(self) -> None:
        if not 1 <= self.pid < 1 << 31:
            raise ValueError(f"'pid' cannot be {self.pid}")
        if not self.host.isprintable() or len(self.host) > 255:
            raise ValueError(f"'host' cannot be {self.host[:60]!r}")
        if not 0 <= self.since < 1 << 40:  # later, no calendar has a year for it
            raise ValueError(f"'since' cannot be {self.since}")

    @classmethod
    def here(cls) -> Holder:
        """Return this process, from now on."""
        return cls(os.getpid(), socket.gethostname(), max(0.0, time.time()))

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"
