"""`fxengine probe`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_layer, positive
from fxengine.ui.console import say, say_json, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.tasks.probe import ProbeReport

TEXT = "train a classifier on a store's features and say how well it does"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--output", type=Path, metavar="HEAD", help="write the head to this .onnx file")
    parser.add_argument("--folds", type=positive, default=5, metavar="N", help="folds of the cross-validation (5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.tasks.probe import probe

    report = probe(options.store, options.output, folds=options.folds, seed=options.seed, layer=options.layer)
    if options.json:
        say_json(report.to_dict())
    else:
        show(report)
    return FINE


def show(report: ProbeReport) -> None:
    """Print how well a probe does."""
    say(f"accuracy {report.accuracy}, {report.folds}-fold cross-validation over {report.rows} rows")
    say(f"always answering the most frequent class: {report.chance:.1%}")
    worst = sorted(report.recall.items(), key=lambda pair: pair[1])
    rows = [[name, str(report.classes[name]), f"{recall:.0%}"] for name, recall in worst[:20]]
    if len(worst) > 20:
        say(f"the 20 hardest of {len(worst)} classes:")
    table(["class", "rows", "recognised"], rows, {"rows", "recognised"})
    say(f"head written to {report.head}" if report.head else "no head written; -o head.onnx keeps it")
