"""`fxengine mislabeled`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_labels, add_layer, add_output, add_report, add_store, call, positive
from fxengine.ui.console import (
    complain_of,
    progress_lines,
    say,
    say_notes,
    say_result,
    say_written,
    silent,
    table,
    text_column,
)
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.probing.mislabeled import Suspects

TEXT = "rank the rows whose labels are likely wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    add_labels(parser)
    parser.add_argument("--head", help="(logistic where the vectors fit into memory, else ridge)")
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="a head that these rows did not train, as zeroshot makes"
    )
    parser.add_argument("--folds", type=int, default=10, metavar="N", help="folds of the cross-validation (10)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="rows to print (20)")
    add_output(parser, "write all to this .parquet, .csv or .json")
    add_report(parser, "a page with their pictures or texts")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.mislabeled import mislabeled
    from fxengine.ui.pages import write_page

    found = call(mislabeled, options, progress=progress_lines(silent(options)))
    if options.report is not None:
        write_page(found, options.report, pictures=options.pictures, tell=complain_of)
    written = [path for path in (options.output, options.report) if path is not None]
    say_result(options, found.to_dict, lambda: show(found, options.top, written))
    return FINE


def show(found: Suspects, top: int, written: list[Path]) -> None:
    """Print the most suspicious rows, and where all were written to."""
    say(f"{found.in_words()} ({found.head}{'' if found.model else ', out of fold'})")
    say_notes(found.notes)
    from fxengine.features.texts import with_texts

    first = found.rows[:top]
    names, texts = text_column(with_texts([{"id": row.id} for row in first], found.store))
    rows = [
        [
            "likely wrong" if row.issue else "",
            row.id,
            f"{row.label} {row.own_probability:.0%}",
            f"{row.suggestion} {row.probability:.0%}",
            *text,
        ]
        for row, text in zip(first, texts, strict=True)
    ]
    if rows:
        table(["", "id", "label", "suggestion", *names], rows)
    if len(rows) < len(found.rows):
        all_of_them = "" if written else ", -o FILE writes all"
        say(f"the {len(rows)} most suspicious of these {len(found.rows)} rows; --top N shows more{all_of_them}")
    say_written(written)
