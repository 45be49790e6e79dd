"""Ends a command on Ctrl-C, SIGTERM and a closed terminal, also out of native code that never comes back.

Python runs a signal's handler between two steps of its own, which a thread inside ONNX Runtime may not reach. The
system's handler runs at once and writes into a pipe; the handler here takes that out again, and a thread that still
finds it there after `GRACE` ends the process. Temporary files that are left are removed by the next run.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE = 1.2  # seconds that native code may take to come back
_TICK = 0.05


def ending_signals() -> list[signal.Signals]:
    """Return the signals that a run stops on cleanly; one that `nohup` or a shell had ignored stays so."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def stopping(options: argparse.Namespace) -> Iterator[None]:
    """Raise KeyboardInterrupt on the first ending signal, its exit code in `options.stopped`; the main thread only.

    Where another handler stands in for the one here, as while a part is written, nothing is cut short.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)

    def stop(number: int, _: FrameType | None) -> None:
        with suppress(BlockingIOError):
            os.read(reader, 4096)
        options.stopped = 128 + number
        raise KeyboardInterrupt

    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(reader, stop, over), daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    kept = {number: signal.signal(number, stop) for number in ending_signals()}
    try:
        yield
    finally:
        over.set()
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(writer)  # wakes the watcher
        watcher.join()
        os.close(reader)


def _watch(reader: int, stop: Callable[[int, FrameType | None], None], over: threading.Event) -> None:
    """End the process where a signal waits for its handler `stop` for too long."""
    while not over.is_set():
        select.select([reader], [], [])
        late = 0.0
        while not over.is_set() and select.select([reader], [], [], 0)[0]:
            if late > GRACE:
                with suppress(BlockingIOError):  # the handler was quicker after all
                    os._exit(128 + os.read(reader, 1)[0])
            time.sleep(_TICK)
            is_ours = any(signal.getsignal(number) is stop for number in ending_signals())
            late = late + _TICK if is_ours else 0.0
