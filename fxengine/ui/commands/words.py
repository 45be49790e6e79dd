"""`fxengine words`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fxengine.ui.arguments import DTYPES, add_output, add_word_vectors, call
from fxengine.ui.console import progress_shown, say, say_result, silent
from fxengine.ui.exit_codes import FINE
from fxengine.ui.supervise import orphaned

if TYPE_CHECKING:
    from fxengine.pipeline.words import Words

TEXT = "turn a file of word vectors into a store of its words, to search and to map"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "vectors", metavar="FILE", help="GloVe, word2vec or fastText; FILE.zip#MEMBER; a folder of model2vec"
    )
    add_output(parser, "the store: its folder, or its place in a bucket", required=True, metavar="STORE", dest="store")
    add_word_vectors(parser)
    parser.add_argument("--dtype", default="float16", choices=DTYPES, help="type of the stored vectors (float16)")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.pipeline.words import words

    with progress_shown("writing", silent(options)) as progress:
        made = call(words, options, progress=progress, cancel=orphaned)
    say_result(options, made.to_dict, lambda: show(made))
    return int(options.stopped) if made.interrupted else FINE


def show(made: Words) -> None:
    """Print what was written."""
    say(f"{made.store}: {made.words} words of {made.dim} numbers, {made.added} written now in {made.seconds:.1f} s")
    if made.failed:
        say(f"  {made.failed} failed: bad_feature")
    if made.interrupted:
        say("  interrupted: what was finished is in the store; the same command goes on from here")
