"""`fxengine fit`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fxengine.ui.arguments import BACKBONE, add_inputs, add_output, call
from fxengine.ui.console import progress_shown, say, say_result, silent
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.train.fit import FitReport

TEXT = "make one model of labelled pictures: extract, probe, fine-tune where worth a trial, bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_inputs(parser, "a folder of pictures, a folder a class")
    add_output(parser, "the .onnx file to make", required=True)
    parser.add_argument("--target", type=float, default=0.95, metavar="SCORE", help="the score that is wanted (0.95)")
    parser.add_argument("--target-accuracy", type=float, dest="target", help=argparse.SUPPRESS)  # its former name
    parser.add_argument("--backbone", default=BACKBONE, metavar="NAME", help=f"({BACKBONE})")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.train.fit import fit

    with progress_shown("fitting", silent(options)) as progress:
        report = call(fit, options, progress=progress)
    say_result(options, report.to_dict, lambda: show(report))
    return FINE


def show(report: FitReport) -> None:
    """Print what each step did, and what came of it."""
    for step in report.steps:
        say(f"{step.name}: {step.said}")
    words = "reached" if report.reached else "not reached"
    say(f"{report.target:.1%} {words}: {report.score}")
