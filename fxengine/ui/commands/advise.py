"""`fxengine advise`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fxengine.ui.arguments import add_labels
from fxengine.ui.console import say, say_json, say_notes
from fxengine.ui.exit_codes import FINE

TEXT = "say whether a head is enough, more labels would help, or fine-tuning would pay"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("store", type=Path)
    add_labels(parser)
    parser.add_argument("--target", type=float, metavar="SCORE", help="the score that is wanted, as 0.95")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.train.advise import advise

    advice = advise(options.store, labels=options.labels, target=options.target)
    if options.json:
        say_json(advice.to_dict())
    else:
        for sentence in advice.sentences():
            say(sentence)
        say_notes(advice.notes)
    return FINE
