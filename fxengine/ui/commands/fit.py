"""`fxengine fit`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fxengine.ui.arguments import BACKBONE, add_output
from fxengine.ui.console import printable, progress_shown, say, say_json
from fxengine.ui.exit_codes import FINE

TEXT = "make one model of labelled pictures: extract, probe, fine-tune only where it pays, bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("photos", type=Path, help="a folder of pictures, a folder a class")
    add_output(parser, "the .onnx file to make", required=True)
    parser.add_argument("--target-accuracy", type=float, default=0.95, metavar="SHARE", help="what is wanted (0.95)")
    parser.add_argument("--backbone", default=BACKBONE, metavar="NAME", help=f"({BACKBONE})")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.train.fit import fit

    with progress_shown("fitting", options.json) as progress:
        report = fit(
            options.photos,
            options.output,
            target=options.target_accuracy,
            backbone=options.backbone,
            progress=progress,
        )
    if options.json:
        say_json(report.to_dict())
        return FINE
    for step in report.steps:
        say(f"{step.name}: {printable(step.said)}")
    words = "reached" if report.reached else "not reached"
    say(f"{report.target:.1%} {words}: {report.score}")
    return FINE
