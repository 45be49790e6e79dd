"""`fxengine calibrate`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_device, add_inputs, call
from fxengine.ui.console import say, say_result, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.pipeline.precision import Choice

TEXT = "find the fastest way to compute a backbone here that keeps its features, and remember it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("backbone", help="a name, keras:NAME, onnx:FILE or an exported file")
    add_inputs(parser, "a folder of pictures to compare on, 64 or more, or a table or folder of as many texts")
    parser.add_argument("--column", metavar="NAME", help='of a table, the texts (the only column, or "text")')
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.pipeline.calibrate import calibrate

    choice = call(calibrate, options)
    say_result(options, choice.to_dict, lambda: show(choice))
    return FINE


def show(choice: Choice) -> None:
    """Print what was compared and chosen."""
    rows = []
    for tried in choice.tried:
        kept = tried.fidelity
        rows.append(
            [
                tried.way.runtime,
                tried.way.precision,
                str(tried.way.streams),
                "" if tried.images_per_second is None else f"{tried.images_per_second:.0f}",
                "" if kept is None else f"{kept.mean_cosine:.5f}",
                "" if kept is None else f"{kept.worst_cosine:.5f}",
                "" if kept is None else f"{kept.kept_neighbours:.1%}",
                tried.verdict,
            ]
        )
    numbers = ["streams", "inputs/s", "cosine", "worst", "neighbours kept"]
    table(["runtime", "precision", *numbers, "verdict"], rows, numbers)
    way = choice.way
    say(
        f"compared on {choice.images} inputs in {choice.seconds:.0f} s; later runs of this backbone here use "
        f"{way.precision} by {way.runtime}"
    )
