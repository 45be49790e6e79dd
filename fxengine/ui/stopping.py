"""Ends a command on Ctrl-C, SIGTERM and a closed terminal, also out of native code that never comes back.

Python runs a signal's handler between two steps of its own, which a thread inside ONNX Runtime may not reach. The
system's handler runs at once and writes into a pipe; the handler here takes that out again, and a thread that still
finds it there after `GRACE` ends the process. Temporary files that are left are removed by the next run.

Where Python comes to the handler is chance: inside a `__del__` what it raises is lost, and is raised once more; inside
a library that is being loaded it may be lost, or end the process by an abort, and so the process ends at once.
"""

from __future__ import annotations

import _thread
import argparse
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from fxengine.ui import console

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SAID = "fxengine: interrupted"
GRACE = 1.2  # seconds that native code may take to come back
_TICK = 0.05
_LOADER = "<frozen importlib._bootstrap>"  # the file of Python's own steps while a module is loaded


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

    over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        with suppress(BlockingIOError):
            os.read(reader, 4096)
        options.stopped = 128 + number
        if _is_loading(frame):
            console.complain(SAID)
            os._exit(options.stopped)
        raise KeyboardInterrupt

    def lost(what: UnraisableHookArgs) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            threading.Timer(
                _TICK, _again, (signal.Signals(options.stopped - 128), over)
            ).start()  # here it would be lost, too
        else:
            reported(what)

    reported, sys.unraisablehook = sys.unraisablehook, lost
    watcher = threading.Thread(target=_watch, args=(reader, stop, over), daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    kept = {number: signal.signal(number, stop) for number in ending_signals()}
    try:
        yield
    finally:
        over.set()
        sys.unraisablehook = reported
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(writer)  # wakes the watcher
        watcher.join()
        os.close(reader)


def _is_loading(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _LOADER:
        frame = frame.f_back
    return frame is not None


def _again(number: signal.Signals, over: threading.Event) -> None:
    if not over.is_set():
        _thread.interrupt_main(number)


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
