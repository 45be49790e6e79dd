"""`fxengine apply`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_store, call
from fxengine.ui.console import say, say_result
from fxengine.ui.exit_codes import FINE, MISTAKE

if TYPE_CHECKING:
    from fxengine.reviewing.apply import Applied

TEXT = "do what was decided in the page of serve: move or delete dropped files, take accepted labels"
_SHOWN = 50
_WORDS = {"move": "moved", "delete": "deleted", "restore": "brought back"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    parser.add_argument("decisions", type=Path, help="decisions.csv, or the undo log of a former run")
    parser.add_argument(
        "--move", type=Path, metavar="FOLDER", help="where dropped files go, or an undo log brings them back from"
    )
    parser.add_argument("--dry-run", action="store_true", help="look at everything and do nothing")
    parser.add_argument("--yes", action="store_true", help="without --move: delete dropped files for good")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="act on files below it, too, where the store is not your own"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.reviewing.apply import apply

    applied = call(apply, options)
    say_result(options, applied.to_dict, lambda: show(applied))
    return FINE if applied.acted or options.dry_run else MISTAKE


def show(applied: Applied) -> None:
    """Print what was done, or would be, and what was left out."""
    from fxengine.errors import one_line

    doing = _WORDS[applied.action] if applied.acted else f"would be {_WORDS[applied.action]}"
    for key in applied.done[:_SHOWN]:
        say(f"  {doing}: {one_line(key, 300)}")
    for key, why in [*applied.skipped.items()][:_SHOWN]:
        say(f"  left as it is: {one_line(key, 300)}: {why}")
    more = len(applied.done[_SHOWN:]) + max(0, len(applied.skipped) - _SHOWN)
    if more:
        say(f"  and {more} more; --json lists all")
    say(f"{len(applied.done)} files {doing}, {len(applied.skipped)} left as they are, {applied.labels} labels accepted")
    if applied.corrected is not None:
        say(f"all labels with those are in {applied.corrected}: `--labels` takes it")
    if applied.undo is not None and applied.action == "move":
        say(f"with the same STORE and FOLDER `fxengine apply STORE {applied.undo} --move FOLDER` brings the files back")
    if applied.acted and applied.done:
        say("`fxengine extract` with --prune takes their rows out of the store")
    if not applied.acted and applied.action == "delete" and applied.done:
        say("--yes deletes these files for good; --move FOLDER moves them instead")
