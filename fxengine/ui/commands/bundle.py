"""`fxengine bundle`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_output, call
from fxengine.ui.console import say, say_result
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.probing.bundle import Bundled

TEXT = "put a head behind its backbone: one ONNX file from pictures or texts to answers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("backbone", help="a name, keras:NAME, onnx:FILE, pca:FILE or an exported file")
    parser.add_argument("model", type=Path, help="a head that `fxengine probe` wrote")
    add_output(parser, "the .onnx file to make", required=True)
    parser.add_argument("--store", type=Path, help="compare with these vectors (those that the head was trained on)")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.bundle import bundle

    made = call(bundle, options)
    say_result(options, made.to_dict, lambda: show(made))
    return FINE


def show(made: Bundled) -> None:
    """Print what was made and how true it is."""
    answers = f"{len(made.head.classes)} {made.head.predicts}"
    say(f"{made.path}: {made.backbone}, {made.head.kind}, {answers}, {made.bytes / 1e6:.1f} MB")
    agreed = made.agreement
    if agreed is None:
        say("  not compared with stored vectors: give the store with --store")
        return
    if not agreed.rows:
        where = "below a folder" if agreed.modality == "picture" else "in a table or folder"
        say(f"  not compared with stored vectors: no {agreed.modality} could be read {where} that you extracted from")
        return
    say(f"  {agreed.rows} {agreed.modality}s against their stored vectors: {agreed.same:.1%} have the same answer")
    gone = f"; {agreed.gone} more could not be read" if agreed.gone else ""
    say(f"  largest difference {agreed.worst:.1e}{gone}")
