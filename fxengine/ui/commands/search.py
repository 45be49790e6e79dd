"""`fxengine search`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_backbone, add_layer, add_metric, add_output, add_report, add_store, call
from fxengine.ui.console import complain_of, progress_lines, say, say_result, say_written, silent, table, text_cell
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.retrieval.search import SearchReport

TEXT = "find the stored pictures or texts nearest to a query"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    parser.add_argument(
        "query",
        type=Path,
        nargs="*",
        default=[],
        help="pictures (of a store of texts, .txt files), folders of them, or .npy files of vectors",
    )
    parser.add_argument(
        "--text", action="append", default=[], metavar="TEXT", help="ask with a text: a store of texts, or of a pair"
    )
    parser.add_argument("--id", action="append", default=[], help="ask for a row of the store, by its id")
    parser.add_argument(
        "--plus", action="append", default=[], metavar="FILE|ID", help="one query from several files or rows"
    )
    parser.add_argument("--minus", action="append", default=[], metavar="FILE|ID", help="taken away from it")
    parser.add_argument("--plus-text", action="append", default=[], metavar="TEXT", help="a text that is added to it")
    parser.add_argument("--minus-text", action="append", default=[], metavar="TEXT", help="a text taken away from it")
    parser.add_argument("-k", type=int, help="neighbours (10)")
    parser.add_argument("--where", metavar="FILTER", help="such as \"label == 'cats' and width > 500\"")
    parser.add_argument("--min-score", type=float, metavar="X", help="leave out what is less near")
    add_metric(parser)
    add_output(parser, "write .parquet, .csv or .json")
    add_report(parser)
    add_layer(parser)
    add_backbone(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.retrieval.search import search
    from fxengine.ui.pages import write_page

    report = call(search, options, progress=progress_lines(silent(options)))
    if options.report is not None:
        write_page(report, options.report, pictures=options.pictures, tell=complain_of)
    written = [path for path in (options.output, options.report) if path is not None]
    say_result(options, report.to_dict, lambda: show(report, written))
    return FINE


def show(report: SearchReport, written: list[Path]) -> None:
    """Print the neighbours of each query, or where they were written to."""
    if report.warning:
        complain_of(report.warning)
    # Of a store of words the id says it already.
    differ = any(near.text != near.id for answer in report.answers for near in answer.neighbours)
    texts = ["text"] if report.modality == "text" and differ else []
    for answer in report.answers if not written else ():
        rows = [
            [str(i), f"{n.score:.4f}", n.label or "", n.id, *(text_cell(n.text) for _ in texts)]
            for i, n in enumerate(answer.neighbours, 1)
        ]
        say(f"nearest to {answer.query} among {report.rows} rows")
        table(["", report.metric, "label", "id", *texts], rows, {"", report.metric})
    say_written(written)
    asked = "1 query" if len(report.answers) == 1 else f"{len(report.answers)} queries"
    say(
        f"{report.method}; store opened in {report.open_ms:.0f} ms, {asked} embedded in "
        f"{report.embed_ms:.0f} ms, searched in {report.search_ms:.1f} ms"
    )
