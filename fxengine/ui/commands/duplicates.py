"""`fxengine duplicates`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxengine.ui.arguments import add_layer, add_output, add_report, call
from fxengine.ui.console import complain_of, say, say_result, say_written, table, text_column
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.retrieval.duplicates import DuplicatesReport

TEXT = "find pictures or texts that are there more than once, by content and by likeness"
_SHOWN = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="least likeness (chosen from the store; 1: equal ones only)",
    )
    add_output(parser, "write .parquet, .csv or .json")
    add_report(parser)
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.retrieval.duplicates import duplicates
    from fxengine.ui.pages import write_page

    report = call(duplicates, options)
    if options.report is not None:
        write_page(report, options.report, pictures=options.pictures, tell=complain_of)
    written = [path for path in (options.output, options.report) if path is not None]
    say_result(options, report.to_dict, lambda: show(report, written))
    return FINE


def show(report: DuplicatesReport, written: list[Path]) -> None:
    """Print the first groups, or where they were written to."""
    from fxengine.features.texts import text_store, with_texts

    noun = "picture" if text_store(report.store) is None else "text"
    rows = with_texts(report.table.slice(0, 0 if written else _SHOWN).to_pylist(), report.store)
    if rows:
        _show_rows(rows)
        say(f"likeness: to the {noun} of the group that is to be kept")
    if len(report.table) > len(rows) > 0:
        say(f"and {len(report.table) - len(rows)} rows more; -o FILE writes all")
    say_written(written)
    how = "chosen from this store" if report.chosen else "as given"
    say(
        f"{report.groups} groups, {len(report.table) - report.groups} {noun}s more than needed among {report.rows}; "
        f"linked from a likeness of {report.threshold:g} ({how})"
    )
    for what in ("labels", "splits"):
        if report.crossing(what):
            say(f"{report.crossing(what)} groups hold {noun}s of several {what}")


def _show_rows(rows: list[dict[str, Any]]) -> None:
    from fxengine.retrieval.duplicates import in_words

    names, texts = text_column(rows)
    if "text" in rows[0]:
        shown = [
            [str(row["group"]), "same text" if row["same_as"] else in_words(row), row["label"] or "", row["id"], *text]
            for row, text in zip(rows, texts, strict=True)
        ]
        table(["group", "", "label", "id", *names], shown, {"group"})
        return
    shown = [
        [str(row["group"]), in_words(row), f"{row['width']} x {row['height']}", row["label"] or "", row["id"]]
        for row in rows
    ]
    table(["group", "", "size", "label", "id"], shown, {"group"})
