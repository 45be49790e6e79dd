"""`fxengine cluster`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_layer, add_output, add_report, add_store, call
from fxengine.ui.console import complain_of, progress_lines, say_result, say_written, silent, table, text_column
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.retrieval.cluster import ClusterReport

TEXT = "part a store into clusters of like pictures or texts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    parser.add_argument("-k", type=int, required=True, help="clusters")
    add_output(parser, "write .parquet, .csv or .json")
    add_report(parser, "a page of what is in the middle of each")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first centres (0)")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.retrieval.cluster import cluster
    from fxengine.ui.pages import write_page

    report = call(cluster, options, progress=progress_lines(silent(options)))
    if options.report is not None:
        write_page(report, options.report, pictures=options.pictures, tell=complain_of)
    written = [path for path in (options.output, options.report) if path is not None]
    say_result(options, report.to_dict, lambda: show(report, written))
    return FINE


def show(report: ClusterReport, written: list[Path]) -> None:
    """Print the clusters."""
    names, texts = text_column(report.to_dict()["clusters"])
    rows = [
        [str(c.number), str(c.rows), f"{c.spread:.3f}", f"{c.label or 'no label'} {c.share:.0%}", c.medoid, *text]
        for c, text in zip(report.clusters, texts, strict=True)
    ]
    table(["cluster", "rows", "spread", "mostly", "medoid", *names], rows, {"cluster", "rows", "spread"})
    say_written(written)
