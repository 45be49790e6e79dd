"""Arguments that several commands share."""

from __future__ import annotations

import argparse


def add_backbone(parser: argparse.ArgumentParser) -> None:
    """Declare --backbone and --device."""
    parser.add_argument(
        "--backbone", metavar="NAME", help="a name, keras:NAME, onnx:FILE or an exported file (efficientnet_lite0)"
    )
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda", "tensorrt"], help="what runs it (auto)"
    )


def add_layers(parser: argparse.ArgumentParser) -> None:
    """Declare --layers, where vectors are made."""
    parser.add_argument(
        "--layers", type=names, default=(), metavar="A,B,C", help="layers to keep, the last one as the default feature"
    )


def add_layer(parser: argparse.ArgumentParser) -> None:
    """Declare --layer, where vectors are read."""
    parser.add_argument("--layer", metavar="NAME", help="a further layer of the store (the default one)")


def names(text: str) -> tuple[str, ...]:
    """Read a list such as "a,b,c"."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = int(text.replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
