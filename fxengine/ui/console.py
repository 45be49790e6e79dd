"""The terminal: results on standard output, everything else (progress, warnings) on standard error."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from fxengine.errors import InputError, one_line, reason
from fxengine.ui.exit_codes import FINE, MISTAKE
from fxengine.ui.words import in_flags

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from rich.console import Console

    from fxengine.pipeline.summary import Progress

_PLAIN_EVERY = 5.0  # seconds between two plain progress lines
CELL, LINE = 200, 2000  # characters that are shown of a value and of a line: what a file says may be a megabyte
_TEXT = 80  # characters of an input that is a text


def say(text: str = "") -> None:
    """Print a line of the result, as any terminal can show it; raises as `write`."""
    write(printable(shortened(text, LINE)) + "\n")


def write(text: str, end: str = "") -> None:
    """Print what is fit for a terminal as it is: what was drawn, JSON, a help text.

    Raises:
        SystemExit: nobody reads it any more (`| head`), which is fine.
        InputError: it cannot be written: the disk is full.
    """
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        _give_up(error)


def say_written(paths: Iterable[Path]) -> None:
    """Print where the result was written to."""
    for path in paths:
        say(f"written to {path}")


def say_notes(notes: Iterable[str]) -> None:
    """Print what there is to know about a result's labels, a line each."""
    for note in notes:
        say(in_flags(note))


def say_json(data: object) -> None:
    """Print the result as JSON; raises as `write`."""
    write(json.dumps(data, indent=2, ensure_ascii=True), end="\n")


def silent(options: argparse.Namespace) -> bool:
    """Tell whether nothing but errors, or nothing but JSON, is to be printed."""
    return bool(options.quiet or options.json)


def say_result(options: argparse.Namespace, data: Callable[[], object], show: Callable[[], None]) -> None:
    """Print a result as it is asked for: as JSON (--json), not at all (--quiet), else by `show`, for people."""
    if options.json:
        say_json(data())
    elif not options.quiet:
        show()


def complain(text: str) -> None:
    """Print an error or a warning, where there is somebody to read it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def complain_of(said: str) -> None:
    """Print an error or a warning of the library, in the words of the command line."""
    lines = f"fxengine: {in_flags(said)}".split("\n")
    complain("\n".join(printable(shortened(line, LINE)) for line in lines))


def open_closed() -> None:
    """Open what the shell closed (`>&-`), to nowhere: the next file would take its number, and get what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python left out those that were closed, for good.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def finish(code: int) -> int:
    """Write out what is left, and return the exit code: Python would say of a pipe that nobody reads that it broke."""
    try:
        write("")
    except SystemExit:
        pass
    except InputError as error:
        complain_of(str(error))
        code = code or MISTAKE
    try:
        sys.stderr.flush()
    except OSError:
        sys.stderr = None
    return code


def _give_up(error: OSError) -> NoReturn:
    sys.stdout = None  # else Python tries again when it ends
    if isinstance(error, BrokenPipeError):
        raise SystemExit(FINE) from None
    raise InputError(f"Standard output cannot be written: {reason(error)}.") from error


def printable(text: str) -> str:
    """Return text that any terminal can show: control characters and lone surrogates are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def shortened(text: str, most: int = CELL) -> str:
    """Return text of at most `most` characters, "…" in the middle where it had more."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def size_in_words(count: int) -> str:
    """Return so many bytes in the unit that suits them."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB" if count >= 1000 else f"{count} B"


def text_cell(text: str | None) -> str:
    """Return the beginning of an input that is a text, for a cell; that none is to be had where it is None."""
    return "(not to be had)" if text is None else one_line(text, _TEXT)


def text_column(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the further column of a table of a store of texts, and its cell in every row; none of a store of pictures,
    or of words, whose ids say it.

    Args:
        rows: as `fxengine.features.texts.with_texts` returns them.
    """
    if not rows or "text" not in rows[0] or all(row["text"] == row.get("id", row.get("medoid")) for row in rows):
        return [], [[] for _ in rows]
    return ["text"], [[text_cell(row["text"])] for row in rows]


def table(columns: list[str], rows: list[list[str]], right: Collection[str] = ()) -> None:
    """Print a table; `right` names the columns of numbers."""
    from rich.table import Table

    made = Table()
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(printable(shortened(cell)) for cell in row))
    drawn = io.StringIO()
    _console(drawn, on_terminal=sys.stdout.isatty()).print(made, markup=False)
    write(drawn.getvalue())


@contextmanager
def native_libraries_silenced() -> Iterator[None]:
    """Keep what C libraries write to standard error (libtiff's complaints) off the terminal; ours still gets there."""
    with suppress(OSError):
        sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    python_stderr = sys.stderr
    terminal = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace")
    try:
        os.dup2(nowhere, 2)
        sys.stderr = terminal
        yield
    finally:
        with suppress(OSError):  # nobody reads it, or the disk is full
            terminal.close()
        sys.stderr = python_stderr
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def progress_lines(quiet: bool) -> Callable[[str], None] | None:
    """Return a callback that prints a line of what is being done; None where it must be quiet."""
    return None if quiet else lambda text: complain(printable(shortened(in_flags(text), LINE)))


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
            TextColumn("{task.fields[failed]} failed{task.fields[workers]}"),
        )
        bar = Bar(*columns, console=_console(sys.stderr, on_terminal=True))
        task = bar.add_task("", total=None, rate=0.0, failed=0, workers="")

        def update(at: Progress) -> None:
            rate = at.done / at.seconds if at.seconds else 0.0
            bar.update(task, completed=at.done, total=at.total, rate=rate, failed=at.failed, workers=_workers(at))
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
        complain(f"{at.done} of {at.total}, {rate:.0f}/s, {left:.0f} s left, {at.failed} failed{_workers(at)}")

    return update


def _workers(at: Progress) -> str:
    """Return what there is to say of many workers, nothing where one process runs."""
    return f", workers: {at.workers}, units left: {at.units_left}" if at.workers or at.units_left else ""


def _console(file: TextIO, *, on_terminal: bool) -> Console:
    from rich.console import Console

    # A pipe has no width of its own: wide enough that ids are not folded.
    return Console(
        file=file, force_terminal=on_terminal, width=None if on_terminal else 120, highlight=False, emoji=False
    )
