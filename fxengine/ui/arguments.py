"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import re


def add_backbone(parser: argparse.ArgumentParser) -> None:
    """Declare --backbone and --device."""
    parser.add_argument(
        "--backbone", metavar="NAME", help="a name, keras:NAME, onnx:FILE or an exported file (efficientnet_lite0)"
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare --device."""
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


def sizes(text: str) -> tuple[int, ...]:
    """Read a list of whole numbers such as "256,128"."""
    return tuple(positive(size) for size in text.split(","))


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Declare --metric."""
    parser.add_argument("--metric", choices=["cosine", "ip", "l2"], help="what near means (cosine)")


def share(text: str) -> float:
    """Read a number between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def size(text: str) -> int:
    """Read a number of bytes such as 800MB or 1.5GB."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([kMGT]?)i?B?\s*", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a size such as 800MB or 1.5GB, got {text!r}")
    return int(float(match[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[match[2]])


def milliseconds(text: str) -> float:
    """Read a time such as 5ms or 0.5s."""
    match = re.fullmatch(r"\s*([\d.]+)\s*(ms|s)\s*", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a time such as 5ms or 0.5s, got {text!r}")
    return float(match[1]) * {"ms": 1, "s": 1000}[match[2]]
