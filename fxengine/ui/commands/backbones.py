"""`fxengine backbones`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from fxengine.ui.arguments import call
from fxengine.ui.console import say, say_result, table
from fxengine.ui.exit_codes import FINE

SOURCES = ("keras", "timm", "torchvision")
TEXT = "list the backbones that can be used by name, and those that were exported before"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--source", choices=SOURCES, help="only the names of keras, timm or torchvision")
    parser.add_argument("--like", metavar="NAME", help="only names that have this in them, or fit a pattern with *")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.backbones.zoo import list_backbones

    rows = call(list_backbones, options).backbones
    say_result(options, lambda: list(rows), lambda: show(rows))
    return FINE


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the backbones that can be used by name."""
    cells = [
        [
            row["name"] if row["path"] is None else row["source"],
            row["modality"],
            _known(row["dim"]),
            _known(row["size"]),
            "" if row["parameters"] is None else f"{row['parameters'] / 1e6:.1f} M",
            "" if row["multiply_adds"] is None else f"{row['multiply_adds'] / 1e6:,.0f} M",
            _known(row["licence"]),
            ("cached" if row["cached"] else "ready") if row["installed"] else row["install"],
        ]
        for row in rows
    ]
    names = ["name", "takes", "dim", "input", "parameters", "multiply-adds", "licence", "state"]
    table(names, cells, {"dim", "input", "parameters", "multiply-adds"})
    say("input: the edge of a picture in pixels, or a text's tokens at most; multiply-adds of texts are for a token")
    say("also: timm:NAME and torchvision:NAME (--source timm --like convnext lists them), torch-hf:ORG/NAME for what")
    say("transformers opens, hf:ORG/NAME for ONNX files of the Hugging Face Hub, tfhub:HANDLE for TensorFlow Hub,")
    say("onnx:FILE for any ONNX file, keras:FOLDER or keras:FILE.keras for your own nets (docs/backbones.md),")
    say("vectors:FILE for word vectors: GloVe, word2vec, fastText (docs/texts.md)")


def _known(value: object) -> str:
    return "" if value is None else str(value)
