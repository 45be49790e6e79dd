"""`fxengine verify`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.storage import is_remote
from fxengine.ui.arguments import add_backbone, add_store, call
from fxengine.ui.console import progress_lines, say, say_result, silent
from fxengine.ui.exit_codes import FINE, MISTAKE
from fxengine.ui.words import in_flags

if TYPE_CHECKING:
    from fxengine.repair.report import VerifyReport

TEXT = "check every part of a store; exit 1 where something is wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="also compute N rows again and compare (0)")
    parser.add_argument("--repair", action="store_true", help="compute again what is bad, and only that")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="read what lies below it, too, where the store is not your own"
    )
    add_backbone(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.repair.verify import verify

    report = call(verify, options, progress=progress_lines(silent(options)))
    say_result(options, report.to_dict, lambda: show(report, options.store))
    return FINE if report.fine else MISTAKE


def show(report: VerifyReport, store: str | Path) -> None:
    """Print what a check found, and what to do about it."""
    say(f"{report.parts} parts checked, {report.rows} rows in good ones; {report.sampled} rows computed again")
    for name, problem in report.bad_parts.items():
        say(f"  bad part {name}: {in_flags(problem)}")
    for key, problem in report.wrong.items():
        say(f"  wrong row {key}: {in_flags(problem)}")
    for key, problem in report.unchecked.items():
        say(f"  not checked, kept: {key}: {in_flags(problem)}")
    if report.changed:
        say(
            f"  {len(report.changed)} rows of the sample not computed: their inputs changed or went since; "
            "`fxengine extract` brings them up to date"
        )
    if report.repair is not None:
        say(f"mended: {report.repair.extracted} rows computed again, {sum(report.repair.failed.values())} failed")
        for name in report.lost:
            say(f"  {name} could not be read at all: kept as {name}.damaged; its inputs got new row numbers")
    elif not report.fine:
        where = ", of a copy in a folder," if is_remote(store) else ""
        say(f"`fxengine verify --repair`{where} computes again what is bad, and only that")
    else:
        say("nothing is wrong")
