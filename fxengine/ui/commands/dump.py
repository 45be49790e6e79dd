"""`fxengine dump`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fxengine.ui.arguments import add_layer, add_output
from fxengine.ui.console import say, say_json
from fxengine.ui.exit_codes import FINE

TEXT = "write a store's vectors for other programs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    add_output(parser, ".npy (+ .ids.csv), .csv or .parquet", required=True)
    parser.add_argument("--normalize", action="store_true", help="scale every vector to length 1")
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.features.dump import dump

    made = dump(options.store, options.output, normalize=options.normalize, layer=options.layer)
    if options.json:
        say_json([str(path) for path in made])
    else:
        for path in made:
            say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return FINE
