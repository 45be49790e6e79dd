"""`fxengine mislabeled`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_labels, add_layer, add_output, positive
from fxengine.ui.console import progress_lines, say, say_json, say_notes, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.probing.mislabeled import Suspects

TEXT = "rank the rows whose labels are likely wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    add_labels(parser)
    parser.add_argument("--head", help="(logistic where the vectors fit into memory, else ridge)")
    parser.add_argument("--folds", type=int, default=10, metavar="N", help="folds of the cross-validation (10)")
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="rows to print (20)")
    add_output(parser, "write all to this .parquet, .csv or .json")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a page with their pictures")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.mislabeled import mislabeled
    from fxengine.ui.pages.mislabeled import mislabeled_page
    from fxengine.ui.table_file import write_table, write_text

    names = ("labels", "head", "folds", "layer")
    progress = progress_lines(options.json)
    found = mislabeled(options.store, **{name: getattr(options, name) for name in names}, progress=progress)
    if options.output is not None:
        write_table(found.table(), options.output)
    if options.report is not None:
        write_text(mislabeled_page(found, options.store), options.report)
    if options.json:
        say_json(found.to_dict())
    else:
        show(found, options.top)
    return FINE


def show(found: Suspects, top: int) -> None:
    """Print the most suspicious rows."""
    say(
        f"{found.issues} of {found.checked} labels are likely wrong, {len(found.rows)} answers differ from their label "
        f"({found.head}, out of fold)"
    )
    say_notes(found.notes)
    rows = [
        [
            "likely wrong" if row.issue else "",
            row.id,
            f"{row.label} {row.own_probability:.0%}",
            f"{row.suggestion} {row.probability:.0%}",
        ]
        for row in found.rows[:top]
    ]
    if rows:
        table(["", "id", "label", "suggestion"], rows)
