"""`fxengine zeroshot`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_device, add_output, call
from fxengine.ui.console import progress_lines, say, say_notes, say_result, silent
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.probing.zeroshot import ZeroShotReport

TEXT = "make a head out of the names of classes, without any label, by the towers of a pair"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("pair", metavar="PAIR", help="hf:ORG/NAME, or the exported file of either tower")
    add_output(parser, "the head's .onnx file to make", required=True)
    parser.add_argument(
        "--classes",
        type=Path,
        required=True,
        metavar="FILE",
        help="a class a line: NAME, or NAME, a tab, and its words",
    )
    parser.add_argument(
        "--templates", metavar="FILE|photo", help='a text a line, {} for the words, or a list ("a photo of a {}.")'
    )
    parser.add_argument(
        "--scale", type=float, metavar="S", help="what a cosine is multiplied by (the pair's, else 100)"
    )
    parser.add_argument("--bias", type=float, metavar="B", help="what is added to it, with a sigmoid (the pair's)")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.zeroshot import zeroshot

    made = call(zeroshot, options, progress=progress_lines(silent(options)))
    say_result(options, made.to_dict, lambda: show(made))
    return FINE


def show(made: ZeroShotReport) -> None:
    """Print what was made."""
    head = made.head
    assert head.zero_shot is not None
    said = head.zero_shot
    say(f"{made.output}: {len(head.classes)} classes of pictures of space {head.space[:12]} ({head.source})")
    say(f"  {made.texts} texts, such as {said.templates[0].replace('{}', said.words[0])!r}")
    bias = f" {said.bias:+g}" if said.bias else ""
    say(f"  {said.activation} of {said.scale:g} x cosine{bias}")
    say_notes(made.notes)
