"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TypeVar

from fxengine.storage import is_remote

# What a help text names, copied from where it is used: those modules would load numpy, ONNX or FAISS for a help text.
# tests/ui/test_arguments.py compares them.
BACKBONE, BACKBONE_OF_TEXTS = "efficientnet_lite0", "minilm_l6"
DEVICES = ("auto", "cpu", "cuda", "tensorrt")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
DTYPES = ("float16", "float32")
METRICS = ("cosine", "ip", "l2")
MAP_METHODS = ("pca", "umap")
POOLINGS = ("avg", "max", "cls", "last", "weighted")
TOWERS = ("image", "text")
CHANNELS = ("rgb", "bgr")
TOKEN_RULES = ("words", "keras")
WORD_WEIGHTS = ("sif",)


T = TypeVar("T")


def call(verb: Callable[..., T], options: argparse.Namespace, **others: object) -> T:
    """Return what the function of a command gives for its command line: a flag is a parameter of the same name.

    Args:
        verb: the function.
        options: what was parsed; what the function does not take is the command's own.
        others: parameters that no flag gives.
    """
    names = signature(verb).parameters.keys() & vars(options).keys()
    return verb(**{name: getattr(options, name) for name in names}, **others)


def local_path(text: str) -> Path:
    """Read a path; none is no path, though Python takes it for the folder that one is in."""
    if not text:  # a shell's variable that is not set
        raise argparse.ArgumentTypeError("it is empty: give a path, or . for the folder that you are in")
    return Path(text)


def place(text: str) -> str | Path:
    """Read a path, or a place in a bucket as people write it."""
    return text if is_remote(text) else local_path(text)


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare the store, a positional argument."""
    parser.add_argument("store", type=place, help="its folder, or its place in a bucket")


def add_backbone(parser: argparse.ArgumentParser, default: str | None = None, *, default_shown: str = BACKBONE) -> None:
    """Declare --backbone and --device."""
    parser.add_argument(
        "--backbone",
        default=default,
        metavar="NAME",
        help=f"a name, keras:NAME, onnx:FILE, vectors:FILE or an exported file ({default_shown})",
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare --device."""
    parser.add_argument("--device", default="auto", choices=DEVICES, help="what runs it (auto)")


def add_layers(parser: argparse.ArgumentParser) -> None:
    """Declare --layers and --pooling, where vectors are made."""
    parser.add_argument(
        "--layers", type=names, default=(), metavar="A,B,C", help="layers to keep, the last one as the default feature"
    )
    add_pooling(parser)


def add_places(parser: argparse.ArgumentParser, otherwise: str, *, margin: float | None = None) -> None:
    """Declare --containers, --frames, --boxes and --margin, which is `margin` unless given: `otherwise`, in words."""
    group = parser.add_argument_group("pictures in archives, frames of videos, and boxes in pictures")
    group.add_argument(
        "--containers", action="store_true", help="open tars, zips and Parquet files of pictures in a folder, too"
    )
    group.add_argument(
        "--frames", metavar="WHICH", help="of videos: keyframes (a second apart or more), every, or a rate such as 1/s"
    )
    group.add_argument(
        "--boxes", type=Path, metavar="FILE", help="a row a box: COCO's .json, a table, or a folder of YOLO's labels"
    )
    share = f"what is taken around a box, as a share of its edges ({otherwise})"
    group.add_argument("--margin", type=float, default=margin, metavar="SHARE", help=share)
    group.add_argument("--allow-private", action="store_true", help="read addresses in private networks, too")


def add_pooling(parser: argparse.ArgumentParser) -> None:
    """Declare --pooling."""
    parser.add_argument("--pooling", choices=POOLINGS, help="how a map, or tokens, become a vector (avg)")


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Declare --tower and --prompt."""
    group = parser.add_argument_group("repositories of models (hf:NAME)")
    group.add_argument("--tower", choices=TOWERS, help="of a pair, only the net for pictures or for texts")
    group.add_argument("--prompt", metavar="NAME", help="what is put before each text: a prompt's name, or NAME=TEXT")


def add_word_vectors(parser: argparse.ArgumentParser) -> None:
    """Declare --tokens, --word-weights and --words."""
    group = parser.add_argument_group("word vectors (vectors:FILE)")
    group.add_argument(
        "--tokens", default="words", choices=TOKEN_RULES, help="how the words of a text are found (words)"
    )
    group.add_argument("--word-weights", choices=WORD_WEIGHTS, help="sif: frequent words count less (all count alike)")
    group.add_argument("--words", type=positive, metavar="N", help="only the first N of the file, the most frequent")


def add_layer(parser: argparse.ArgumentParser) -> None:
    """Declare --layer, where vectors are read."""
    parser.add_argument("--layer", metavar="NAME", help="a further layer of the store (the default one)")


def add_labels(parser: argparse.ArgumentParser, instead_of: str = "the store's own labels") -> None:
    """Declare --labels."""
    parser.add_argument(
        "--labels", metavar="FILE[:COLUMN]", help=f"a .csv, .tsv or .parquet with ids instead of {instead_of}"
    )


def add_output(
    parser: argparse.ArgumentParser,
    what: str,
    *,
    required: bool = False,
    metavar: str = "FILE",
    dest: str = "output",
) -> None:
    """Declare -o; `what` is its help, `dest` the parameter that it gives."""
    parser.add_argument("-o", "--output", type=Path, required=required, metavar=metavar, dest=dest, help=what)


def add_report(parser: argparse.ArgumentParser, what: str = "a page of pictures or texts") -> None:
    """Declare --report, and --html, which it was called before, and --pictures."""
    parser.add_argument("--report", type=Path, metavar="HTML", help=f"write {what}")
    parser.add_argument("--html", type=Path, dest="report", help=argparse.SUPPRESS)
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="show pictures below it, too, where the store is not your own"
    )


def add_inputs(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the pictures, a positional argument; `what` is its help."""
    parser.add_argument("inputs", type=Path, help=what)


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
    parser.add_argument("--metric", choices=METRICS, help="what near means (cosine)")


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
