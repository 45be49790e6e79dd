"""`fxengine pca`."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_layer, add_output, add_store, call, positive
from fxengine.ui.console import progress_lines, say, say_result, silent, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.features.schema import Provenance
    from fxengine.reduce.fit import PcaReport

TEXT = "reduce a store's vectors to their principal components"
_COLUMNS = {"text": "--column", "id": "--id-column", "label": "--label-column", "split": "--split-column"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    add_output(parser, "the .onnx transform to make", required=True)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--dim", type=positive, metavar="N", help="components to keep")
    size.add_argument("--variance", type=float, metavar="SHARE", help="keep as many as explain this share, as 0.95")
    parser.add_argument("--whiten", action="store_true", help="scale every component to unit variance")
    parser.add_argument("--reduced", type=Path, metavar="STORE", help="write a store of reduced vectors")
    parser.add_argument("--store", type=Path, dest="reduced", help=argparse.SUPPRESS)  # its former name
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the explained variance")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.reduce.fit import pca
    from fxengine.ui.pages import write_page

    report = call(pca, options, progress=progress_lines(silent(options)))
    if options.plot is not None:
        write_page(report, options.plot)
    say_result(options, report.to_dict, lambda: show(report))
    return FINE


def show(report: PcaReport) -> None:
    """Print how much the components explain."""
    from fxengine.features.read import FeatureStore

    k, dim = report.pca.components.shape
    share = report.pca.facts.explained_variance_ratio.sum()
    say(f"{dim} -> {k} numbers explain {share:.1%} of the variance of {report.pca.facts.rows} rows")
    columns = ["components", "variance explained", "variance of the last"]
    rows = [
        [
            f"{'* ' if row['components'] == k else ''}{row['components']}",
            f"{row['explained']:.1%}",
            f"{row['variance']:.3g}",
        ]
        for row in report.table.to_pylist()
    ]
    table(columns, rows, set(columns))
    say(f"transform written to {report.path}")
    if report.store is not None and report.space is not None:
        say(f"reduced store written to {report.store}, space {report.space[:12]}")
        if report.failed:
            say(f"  {report.failed} rows have too large numbers for it: they have none. --dtype float32 holds them")
        made = FeatureStore.open(report.store).provenance
        if not made.of_words:
            update = f"fxengine extract INPUTS{_columns(made)} -o {report.store} --backbone pca:{report.path}"
            say(f"  bring it up to date with: {update}")


def _columns(made: Provenance) -> str:
    """Return the flags that name a table's columns as they were read for a store; none where no table was."""
    read = asdict(made.text_columns)
    return "".join(f" {flag} {shlex.quote(read[role])}" for role, flag in _COLUMNS.items() if read[role] is not None)
