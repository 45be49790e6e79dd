"""`fxengine cluster`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_html, add_layer, add_output
from fxengine.ui.console import say, say_json, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.retrieval.cluster import ClusterReport

TEXT = "part a store into clusters of like pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    parser.add_argument("-k", type=int, required=True, help="clusters")
    add_output(parser, "write .parquet, .csv or .json")
    add_html(parser, "a page of the pictures in the middle of each")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first centres (0)")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.retrieval.cluster import cluster
    from fxengine.ui.pages.cluster import cluster_page
    from fxengine.ui.table_file import write_table, write_text

    report = cluster(options.store, options.k, layer=options.layer, seed=options.seed)
    if options.output is not None:
        write_table(report.table, options.output)
    if options.html is not None:
        write_text(cluster_page(report), options.html)
    if options.json:
        say_json(report.to_dict())
    else:
        show(report, written=[path for path in (options.output, options.html) if path is not None])
    return FINE


def show(report: ClusterReport, written: list[Path]) -> None:
    """Print the clusters."""
    rows = [
        [str(c.number), str(c.rows), f"{c.spread:.3f}", f"{c.label or 'no label'} {c.share:.0%}", c.medoid]
        for c in report.clusters
    ]
    table(["cluster", "rows", "spread", "mostly", "medoid"], rows, {"cluster", "rows", "spread"})
    for path in written:
        say(f"written to {path}")
