"""`fxengine backbones`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from fxengine.ui.console import say, say_result, table
from fxengine.ui.exit_codes import FINE

TEXT = "list the backbones that can be used by name, and those that were exported before"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes: nothing but --json."""


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.backbones.zoo import list_backbones

    rows = list_backbones().backbones
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
    say("also: hf:ORG/NAME for the Hugging Face Hub, tfhub:HANDLE for TensorFlow Hub, onnx:FILE for any ONNX file,")
    say("keras:FOLDER or keras:FILE.keras for your own nets (docs/backbones.md), vectors:FILE for word vectors: GloVe,")
    say("word2vec, fastText (docs/texts.md)")


def _known(value: object) -> str:
    return "" if value is None else str(value)
