"""What a process may not do that a test's own may: for `preexec_fn` of a child."""

from __future__ import annotations

import ctypes
import resource

_DROP_FROM_BOUNDING_SET = 24
_WRITE_ANYWHERE, _READ_ANYWHERE = 1, 2


def permissions_bind() -> None:
    """Take root's right to pass over permissions; from others, which have none, it takes nothing."""
    libc = ctypes.CDLL(None)
    for capability in (_WRITE_ANYWHERE, _READ_ANYWHERE):
        libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


def no_file_over_100_bytes() -> None:
    """Let no file grow further, as on a full disk: Python ignores the signal, and the write fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
