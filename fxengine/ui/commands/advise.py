"""`fxengine advise`."""

from __future__ import annotations

import argparse

from fxengine.ui.arguments import add_labels, add_store, call
from fxengine.ui.console import say_notes, say_result
from fxengine.ui.exit_codes import FINE

TEXT = "say whether a head is enough, more labels would help, or fine-tuning is worth a trial"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    add_labels(parser)
    parser.add_argument("--target", type=float, metavar="SCORE", help="the score that is wanted, as 0.95")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.train.advise import advise

    advice = call(advise, options)
    say_result(options, advice.to_dict, lambda: say_notes([*advice.sentences(), *advice.notes]))
    return FINE
