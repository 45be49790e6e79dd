"""`fxengine export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import (
    CHANNELS,
    add_layers,
    add_output,
    add_repository,
    add_word_vectors,
    call,
    positive,
)
from fxengine.ui.console import say, say_result
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.backbones.export import Exported
    from fxengine.backbones.pair import Pair

TEXT = "make a backbone file out of a pretrained net, with a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "source",
        help="keras:NAME, timm:NAME, torchvision:NAME, torch-hf:ORG/NAME, onnx:FILE[@TENSOR], hf:ORG/NAME, "
        "tfhub:HANDLE, vectors:FILE, a name or a file; see docs",
    )
    add_output(parser, "the .onnx file to make; of a pair NAME, for NAME.image.onnx and NAME.text.onnx", required=True)
    add_layers(parser)
    parser.add_argument("--logits", action="store_true", help="keep the net's own classifier, for `fxengine predict`")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes of --logits, a line each")
    parser.add_argument("--size", type=positive, nargs="+", metavar="N", help="input height and width, or both at once")
    parser.add_argument(
        "--weights", default="imagenet", help="of a named net: imagenet, its own; random; or a file (imagenet)"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run a SavedModel, which is a program, or a repository's code"
    )
    group = parser.add_argument_group("preprocessing of an ONNX file")
    group.add_argument(
        "--preprocess", type=Path, metavar="JSON", help="preprocessor_config.json, timm's config.json, or a recipe"
    )
    group.add_argument("--channels", choices=CHANNELS, help="order of the colours that the net takes")
    group.add_argument("--scale", type=float, metavar="S", help="factor of pixel values from 0 to 255")
    group.add_argument(
        "--mean", type=float, nargs=3, metavar="M", help="subtracted after --scale, in the order of --channels"
    )
    group.add_argument("--std", type=float, nargs=3, metavar="S", help="divided by after --mean")
    group.add_argument("--resize", metavar="RULE", help="short, long or squash, as short:256:bicubic")
    add_word_vectors(parser)
    add_repository(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.backbones.export import export

    made = call(export, options)
    say_result(options, made.to_dict, lambda: show(made))
    return FINE


def show(made: Exported) -> None:
    """Print what an export made."""
    facts = made.file.facts
    say(f"{made.file.path}: {facts.name}, space {made.file.fingerprint[:12]}")
    say(f"  from {facts.source}; licence {facts.licence}")
    say(f"  cut at {facts.cut}, pooling {facts.pooling}")
    if made.removed:
        say(f"  removed: {', '.join(made.removed)}")
    if made.whole is not None:
        numbers = "" if made.whole_dim is None else f", {made.whole_dim} numbers"
        layers = "" if made.whole_layers is None else f" --layers {made.whole_layers}"
        say(f"  {made.whole}{layers} keeps all of it{numbers}")
    for name, dim in facts.layers:
        say(f"  further layer {name}: {dim}")
    for line in made.report.to_text().splitlines():
        say(f"  {line}")
    say(f"  report: {made.report_path}")
    if made.text is not None:
        show(made.text)
    elif made.pair is not None:
        say(f"the two are a pair: {_scaling(made.pair)}")


def _scaling(pair: Pair) -> str:
    """Return what a pair says of probabilities."""
    if pair.scale is None:
        return f"{pair.activation}; by what cosines are scaled is stated in no file that is here"
    bias = f" {pair.bias:+.4g}" if pair.bias else ""
    return f"{pair.activation} of {pair.scale:.4g} x cosine{bias} ({pair.stated_in})"
