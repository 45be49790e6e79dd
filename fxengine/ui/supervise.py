"""Runs a command in a child process and starts it again when a decoder takes it down.

The run that follows a crash decodes the suspected files in processes of their own (see `features/crash_note.py`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from fxengine.features.crash_note import read_suspects
from fxengine.ui import console
from fxengine.ui.stopping import ending_signals

PARENT = "FXENGINE_PARENT"
NOTES = "FXENGINE_NOTES"  # the folder that crashes are noted in
_CRASHES = {
    -getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE") if hasattr(signal, name)
}
_MOST_CRASHES = 100


def is_child() -> bool:
    """Tell whether this process is the supervised one."""
    return PARENT in os.environ


def is_store(folder: Path) -> bool:
    """Tell whether a folder holds parts, of which nothing is decoded; what reads the store looks closer."""
    with suppress(OSError):  # a name that is too long to be one
        return any(folder.glob("part-*.parquet"))
    return False


def orphaned() -> bool:
    """Tell whether the supervising process is gone: then the run stops cleanly, too."""
    return is_child() and os.getppid() != int(os.environ[PARENT])


def stop_if_orphaned() -> bool:
    """End the command as Ctrl-C does where the supervising process is gone: what it would write, nobody waits for."""
    if orphaned():
        if (notes := notes_folder()) is not None:
            shutil.rmtree(notes, ignore_errors=True)  # who made it cannot any more
        raise KeyboardInterrupt
    return False


def notes_folder() -> Path | None:
    """Return the folder that the supervising process looks for suspects in, None without one."""
    return Path(os.environ[NOTES]) if os.environ.get(NOTES) else None


@contextmanager
def crash_notes() -> Iterator[Path | None]:
    """Yield a folder to note crashes in, for a command that has none of its own; None where none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="fxengine-", ignore_cleanup_errors=True)
    except OSError:
        yield None
        return
    with folder as path:
        yield Path(path)


def supervise(arguments: Sequence[str], notes: Path | None) -> int:
    """Run `fxengine ARGUMENTS`, again after each crash that names new suspects in `notes`; return its exit code.

    A crash without a new suspect is not a decoder's, and would come again for ever; so would too many of them.
    """
    known: frozenset[bytes] = frozenset()
    for _ in range(_MOST_CRASHES):
        code = _run_once(arguments, notes)
        suspects = read_suspects(notes) if notes is not None and code in _CRASHES else known
        if suspects <= known:
            break
        known |= suspects
        console.complain("fxengine: a decoder crashed; going on, with the suspected files apart")
    return code if code >= 0 else 128 - code


def _run_once(arguments: Sequence[str], notes: Path | None) -> int:
    child: subprocess.Popen[bytes] | None = None
    came: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        came.append(number)
        if child is not None:
            child.send_signal(_silent(number))

    def pause(_: int, __: FrameType | None) -> None:
        if child is not None:
            child.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        if child is not None:
            child.send_signal(signal.SIGCONT)  # and so is this process again, by `fg` or `bg`

    kept = {number: signal.signal(number, forward) for number in ending_signals()}
    if hasattr(signal, "SIGTSTP"):
        kept[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, pause)
    try:
        # Its own process group: a Ctrl-C reaches it once, through here, and not a second time from the terminal.
        child = subprocess.Popen(
            [sys.executable, "-m", "fxengine", *arguments],
            env={**os.environ, PARENT: str(os.getpid()), NOTES: str(notes or "")},
            process_group=0 if os.name == "posix" else None,
        )
        for number in list(came):  # before there was a child
            child.send_signal(_silent(number))
        code = child.wait()
        return 128 + came[0] if came and code in (-signal.SIGTERM, 128 + signal.SIGTERM) else code
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _silent(number: int) -> int:
    """Return what is sent for a signal: to a Ctrl-C, Python answers with a traceback until it has loaded fxengine."""
    return signal.SIGTERM if number == signal.SIGINT else number
