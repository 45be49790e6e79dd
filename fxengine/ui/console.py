"""The terminal: results on standard output, everything else (progress, warnings) on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from fxengine.pipeline.summary import Progress

_PLAIN_EVERY = 5.0  # seconds between two plain progress lines


def say(text: str = "") -> None:
    """Print a line of the result."""
    print(text, flush=True)


def say_notes(notes: Iterable[str]) -> None:
    """Print what there is to know about a result's labels, a line each."""
    for note in notes:
        say(printable(note))


def say_json(data: object) -> None:
    """Print the result as JSON."""
    print(json.dumps(data, indent=2, ensure_ascii=True), flush=True)


def complain(text: str) -> None:
    """Print an error or a warning."""
    print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return text that any terminal can show: control characters and lone surrogates are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def table(columns: list[str], rows: list[list[str]], right: Collection[str] = ()) -> None:
    """Print a table; `right` names the columns of numbers."""
    from rich.table import Table

    made = Table()
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(printable(cell) for cell in row))
    _console(sys.stdout).print(made, markup=False)


@contextmanager
def native_libraries_silenced() -> Iterator[None]:
    """Keep what C libraries write to standard error (libtiff's complaints) off the terminal; ours still gets there."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    python_stderr = sys.stderr
    try:
        with os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace") as terminal:
            os.dup2(nowhere, 2)
            sys.stderr = terminal
            yield
    finally:
        sys.stderr = python_stderr
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def progress_lines(quiet: bool) -> Callable[[str], None] | None:
    """Return a callback that prints a line of what is being done; None where it must be quiet."""
    return None if quiet else lambda text: complain(printable(text))


@contextmanager
def progress_shown(doing: str, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Yield a callback that shows rate, time left and errors: a bar on a terminal, plain lines elsewhere.

    Nothing is shown before the first call: a mistake leaves no empty bar behind.
    """
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _plain_lines()
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f}/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]} failed"),
        )
        bar = Bar(*columns, console=_console(sys.stderr))
        task = bar.add_task("", total=None, rate=0.0, failed=0)

        def update(at: Progress) -> None:
            rate = at.done / at.seconds if at.seconds else 0.0
            bar.update(task, completed=at.done, total=at.total, rate=rate, failed=at.failed)
            bar.start()

        try:
            yield update
        finally:
            bar.stop()


def _plain_lines() -> Callable[[Progress], None]:
    last = time.monotonic()

    def update(at: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PLAIN_EVERY and at.done < at.total:
            return
        last = now
        rate = at.done / at.seconds if at.seconds else 0.0
        left = (at.total - at.done) / rate if rate else 0.0
        complain(f"{at.done} of {at.total}, {rate:.0f}/s, {left:.0f} s left, {at.failed} failed")

    return update


def _console(file: TextIO) -> Console:
    from rich.console import Console

    # A pipe has no width of its own: wide enough that ids are not folded.
    return Console(file=file, width=None if file.isatty() else 120, highlight=False, emoji=False)
