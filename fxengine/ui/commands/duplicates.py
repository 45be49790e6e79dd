"""`fxengine duplicates`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxengine.ui.arguments import add_layer, add_output, add_report, add_store, call
from fxengine.ui.console import complain_of, progress_lines, say, say_result, say_written, table, text_column
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.retrieval.duplicates import DuplicatesReport

TEXT = "find pictures or texts that are there more than once: identical, the same, or only alike"
_SHOWN = 30
# What is said of how many rows are of a kind, in the order of the sections.
_SECTIONS = {
    "identical": "identical to one that is kept",
    "same picture": "the same picture as one that is kept",
    "same text": "the same text but for spaces, case and marks",
    "near the same": "nearly the same text as another; kept",
    "same scene": "alike, but another picture: kept",
    "alike": "alike, but another text: kept",
    "unverified": "alike, and not compared: kept",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="least likeness (chosen from the store; 1: equal ones only)",
    )
    parser.add_argument("--across-splits", action="store_true", help="first what has copies in several splits")
    add_output(parser, "write .parquet, .csv or .json")
    add_report(parser)
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.retrieval.duplicates import duplicates
    from fxengine.ui.pages import write_page

    report = call(duplicates, options, progress=progress_lines(options.quiet))
    if options.report is not None:
        write_page(report, options.report, tell=complain_of)
    written = [path for path in (options.output, options.report) if path is not None]
    say_result(options, report.to_dict, lambda: show(report, written))
    return FINE


def show(report: DuplicatesReport, written: list[Path]) -> None:
    """Print the first groups, or where they were written to, and how many rows are what."""
    from fxengine.features.texts import text_store, with_texts

    noun = "picture" if text_store(report.store) is None else "text"
    rows = with_texts(report.table.slice(0, 0 if written else _SHOWN).to_pylist(), report.store)
    if rows:
        _show_rows(rows)
        say(f"likeness: of the vectors, to the {noun} that is kept")
    if len(report.table) > len(rows) > 0:
        say(f"and {len(report.table) - len(rows)} rows more; -o FILE writes all")
    say_written(written)
    say(f"{report.groups} groups, {report.redundant} {noun}s more than needed among {report.rows}")
    for kind, count in report.kinds.items():
        say(f"  {count} {kind}: {_SECTIONS[kind]}")
    how = "chosen from this store" if report.chosen else "as given"
    say(f"what is only alike is grouped from a likeness of {report.threshold:g} ({how})")
    if report.across_splits:
        say(f"{report.across_splits} {noun}s have copies in several splits; --across-splits lists them first")
    for what in ("labels", "splits"):
        if report.crossing(what):
            say(f"{report.crossing(what)} groups hold {noun}s of several {what}")
    if "unverified" in report.kinds:
        say(_why_unverified(report, noun))


def _why_unverified(report: DuplicatesReport, noun: str) -> str:
    if report.hidden:
        return "Pictures outside the folders that you extracted from or named were not compared; --pictures names one."
    beside = ", or they hold too little detail" if noun == "picture" else ""
    return f"What is unverified could not be read: its files are gone or others now{beside}."


def _show_rows(rows: list[dict[str, Any]]) -> None:
    from fxengine.retrieval.duplicates import in_words

    names, texts = text_column(rows)
    if "text" in rows[0]:
        shown = [
            [str(row["group"]), "identical" if row["same_as"] else in_words(row), row["label"] or "", row["id"], *text]
            for row, text in zip(rows, texts, strict=True)
        ]
        table(["group", "", "label", "id", *names], shown, {"group"})
        return
    shown = [
        [str(row["group"]), in_words(row), f"{row['width']} x {row['height']}", row["label"] or "", row["id"]]
        for row in rows
    ]
    table(["group", "", "size", "label", "id"], shown, {"group"})
