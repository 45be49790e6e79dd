"""`fxengine map`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import MAP_METHODS, add_layer, add_output, add_store, call, positive
from fxengine.ui.console import progress_lines, say, say_result, silent, table, text_column
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.retrieval.map import MapReport

TEXT = "lay a store out on a plane, with neighbours and outliers, for embedding-atlas and others"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    add_output(parser, "write the map, .parquet or .json")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it")
    parser.add_argument("--method", default="pca", choices=MAP_METHODS, help="how places are found (pca)")
    parser.add_argument("-k", type=positive, default=10, help="neighbours of each row (10)")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.retrieval.map import map
    from fxengine.ui.pages import write_page

    report = call(map, options, progress=progress_lines(silent(options)))
    if options.png is not None:
        write_page(report, options.png)
    written = [path for path in (options.output, options.png) if path is not None]
    say_result(options, report.to_dict, lambda: show(report, written, options.output))
    return FINE


def show(report: MapReport, written: list[Path], output: Path | None) -> None:
    """Print where the map is and the rows that are farthest from all others."""
    found = report.outliers(10)
    names, texts = text_column(found)
    rows = [
        [f"{row['outlier']:.3f}", row["label"] or "", row["id"], *text] for row, text in zip(found, texts, strict=True)
    ]
    say("farthest from all others:")
    table(["distance", "label", "id", *names], rows, {"distance"})
    held = "" if report.explained is None else f", {report.explained:.0%} of the variance"
    places = f", in {' and '.join(str(path) for path in written)}" if written else "; -o FILE writes the map"
    say(f"{len(report.table)} rows by {report.method}{held}{places}")
    if output is not None:
        say(f"look at it: embedding-atlas {output} --x x --y y --neighbors neighbors")
