"""`fxengine dump`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_layer, add_output, add_store, call
from fxengine.ui.console import say, say_result, size_in_words
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.features.dump import Dumped

TEXT = "write a store's vectors for other programs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    add_output(parser, ".npy (+ .ids.csv), .csv or .parquet", required=True)
    parser.add_argument("--normalize", action="store_true", help="scale every vector to length 1")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.features.dump import dump

    made = call(dump, options)
    say_result(options, lambda: made.to_dict()["files"], lambda: show(made))
    return FINE


def show(made: Dumped) -> None:
    """Print what was written."""
    files = " and ".join(f"{path} ({size_in_words(path.stat().st_size)})" for path in made.files)
    say(f"{made.rows} rows written to {files}")
