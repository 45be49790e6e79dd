"""`fxengine map`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import MAP_METHODS, add_layer, add_output, positive
from fxengine.ui.console import progress_lines, say, say_json, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.retrieval.map import MapReport

TEXT = "lay a store out on a plane, with neighbours and outliers, for embedding-atlas and others"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    add_output(parser, "the map, .parquet or .json", required=True)
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it")
    parser.add_argument("--method", default="pca", choices=MAP_METHODS, help="how places are found (pca)")
    parser.add_argument("-k", type=positive, default=10, help="neighbours of each row (10)")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.retrieval.map import make_map
    from fxengine.ui.table_file import check_suffix, write_picture, write_table

    check_suffix(options.output, (".parquet", ".json"))
    progress = progress_lines(options.json)
    report = make_map(options.store, method=options.method, k=options.k, layer=options.layer, progress=progress)
    write_table(report.table, options.output)
    if options.png is not None:
        from fxengine.ui.pages.plots import plane

        x, y = (report.table[name].to_numpy() for name in ("x", "y"))
        write_picture(plane(x, y, report.table["label"].to_pylist()), options.png)
    if options.json:
        say_json(report.to_dict())
    else:
        show(report, options.output, options.png)
    return FINE


def show(report: MapReport, output: Path, png: Path | None) -> None:
    """Print where the map is and the rows that are farthest from all others."""
    rows = [[f"{row['outlier']:.3f}", row["label"] or "", row["id"]] for row in report.outliers(10)]
    say("farthest from all others:")
    table(["distance", "label", "id"], rows, {"distance"})
    held = "" if report.explained is None else f", {report.explained:.0%} of the variance"
    say(f"{len(report.table)} rows by {report.method}{held}, in {output}{'' if png is None else f' and {png}'}")
    say(f"look at it: embedding-atlas {output} --x x --y y --neighbors neighbors")
