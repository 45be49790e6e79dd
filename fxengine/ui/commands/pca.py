"""`fxengine pca`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_layer, add_output, positive
from fxengine.ui.console import printable, progress_lines, say, say_json, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.reduce.fit import PcaReport

TEXT = "reduce a store's vectors to their principal components"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    add_output(parser, "the .onnx transform to make", required=True)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--dim", type=positive, metavar="N", help="components to keep")
    size.add_argument("--variance", type=float, metavar="SHARE", help="keep as many as explain this share, as 0.95")
    parser.add_argument("--whiten", action="store_true", help="scale every component to unit variance")
    parser.add_argument(
        "--store", type=Path, dest="reduced", metavar="REDUCED", help="write a store of reduced vectors"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the explained variance")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.reduce.fit import pca

    report = pca(
        options.store,
        options.output,
        dim=options.dim,
        variance=options.variance,
        whiten=options.whiten,
        layer=options.layer,
        reduced=options.reduced,
        progress=progress_lines(options.json),
    )
    if options.plot is not None:
        from fxengine.ui.pages.plots import explained_variance
        from fxengine.ui.table_file import write_picture

        write_picture(explained_variance(report.variances, len(report.pca.components)), options.plot)
    if options.json:
        say_json(report.to_dict())
    else:
        show(report)
    return FINE


def show(report: PcaReport) -> None:
    """Print how much the components explain."""
    k, dim = report.pca.components.shape
    share = report.pca.facts.explained_variance_ratio.sum()
    say(f"{dim} -> {k} numbers explain {share:.1%} of the variance of {report.pca.facts.rows} rows")
    columns = ["components", "variance explained", "variance of the last"]
    rows = [[("* " if n == k else "") + str(n), f"{total:.1%}", f"{last:.3g}"] for n, total, last in report.table()]
    table(columns, rows, set(columns))
    say(f"transform written to {printable(str(report.path))}")
    if report.store is not None and report.space is not None:
        say(f"reduced store written to {printable(report.store)}, space {report.space[:12]}")
        update = f"fxengine extract PHOTOS -o {report.store} --backbone pca:{report.path}"
        say(f"  bring it up to date with: {printable(update)}")
