"""What can be typed after `fxengine`: every command with its arguments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn, TypeAlias

MISTAKE = 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(MISTAKE, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = _Parser(
        prog="fxengine", description="Embed pictures once, into Parquet; then probe and search in seconds."
    )
    parser.add_argument("--version", action="version", version=f"fxengine {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_extract(commands)
    _add_probe(commands)
    _add_predict(commands)
    _add_search(commands)
    _add_export(commands)
    _add_backbones(commands)
    _add_verify(commands)
    _add_dump(commands)
    _add_info(commands)
    return parser


def _version() -> str:
    import fxengine

    return fxengine.__version__


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _command(commands: _Commands, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=name)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_backbone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone", metavar="NAME", help="a name, keras:NAME, onnx:FILE or an exported file (efficientnet_lite0)"
    )
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda", "tensorrt"], help="what runs it (auto)"
    )


def _add_extract(commands: _Commands) -> None:
    parser = _command(
        commands,
        "extract",
        "turn a folder of pictures into a store of feature vectors, or bring it up to date",
    )
    parser.add_argument("photos", type=Path, help="a folder, searched recursively, or one picture")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="STORE", help="the store's folder")
    _add_backbone(parser)
    _add_layers(parser)
    parser.add_argument(
        "--dtype", default="float16", choices=["float16", "float32"], help="type of the stored vectors (float16)"
    )
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument(
        "--list", type=Path, metavar="FILE", help="take the paths in this .txt, .csv or .parquet, relative to PHOTOS"
    )
    inputs.add_argument(
        "--include", action="append", default=[], metavar="GLOB", help="only files that fit; may be repeated"
    )
    inputs.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="no files that fit; may be repeated"
    )
    inputs.add_argument("--limit", type=_positive, metavar="N", help="only the first N files")
    inputs.add_argument(
        "--max-pixels", type=_positive, default=256_000_000, metavar="N", help="refuse larger pictures (256 million)"
    )
    inputs.add_argument(
        "--max-bytes", type=_positive, default=1_000_000_000, metavar="N", help="refuse larger files (1 billion)"
    )
    update = parser.add_argument_group("update of a store")
    update.add_argument("--retry-failed", action="store_true", help="try inputs again that failed for a lasting reason")
    update.add_argument("--prune", action="store_true", help="remove rows whose input is gone")
    update.add_argument("--yes", action="store_true", help="also where that is more than 20%% of the rows")
    update.add_argument(
        "--allow-mixed-precision", action="store_true", help="go on in another precision than the store's"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--batch-size", type=_positive, default=4, metavar="N", help="pictures in one run of the model (4)"
    )
    run.add_argument("--decoders", type=_positive, metavar="N", help="decoding threads (one a core)")
    run.add_argument("--part-rows", type=_positive, default=8192, metavar="N", help="rows of a part at most (8192)")
    run.add_argument("--max-errors", type=int, metavar="N", help="exit with 2 where more inputs failed (all may)")
    run.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_probe(commands: _Commands) -> None:
    parser = _command(commands, "probe", "train a classifier on a store's features and say how well it does")
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--output", type=Path, metavar="HEAD", help="write the head to this .onnx file")
    parser.add_argument("--folds", type=_positive, default=5, metavar="N", help="folds of the cross-validation (5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    _add_layer(parser)


def _add_predict(commands: _Commands) -> None:
    parser = _command(
        commands, "predict", "name what pictures show, by the backbone's own classes or by a trained head"
    )
    parser.add_argument("source", type=Path, metavar="PHOTOS|STORE")
    parser.add_argument("--model", type=Path, metavar="HEAD", help="a head that `fxengine probe` wrote")
    _add_backbone(parser)
    parser.add_argument("--top", type=_positive, default=5, metavar="K", help="how many classes to name (5)")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N files")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write .json, .csv or .parquet instead of a table"
    )


def _add_search(commands: _Commands) -> None:
    parser = _command(commands, "search", "find the stored pictures nearest to a query")
    parser.add_argument("store", type=Path)
    parser.add_argument("query", type=Path, help="a picture")
    parser.add_argument("-k", type=_positive, default=10, help="neighbours (10)")
    _add_layer(parser)
    _add_backbone(parser)


def _add_verify(commands: _Commands) -> None:
    parser = _command(commands, "verify", "check every part of a store; exit 1 where something is wrong")
    parser.add_argument("store", type=Path)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="also compute N rows again and compare (0)")
    parser.add_argument("--repair", action="store_true", help="compute again what is bad, and only that")
    _add_backbone(parser)


def _add_dump(commands: _Commands) -> None:
    parser = _command(commands, "dump", "write a store's vectors for other programs")
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help=".npy (+ .ids.csv), .csv or .parquet"
    )
    parser.add_argument("--normalize", action="store_true", help="scale every vector to length 1")
    _add_layer(parser)


def _add_info(commands: _Commands) -> None:
    parser = _command(commands, "info", "say what a store, a backbone, a head or a backbone's name is")
    parser.add_argument("target")
    parser.add_argument("--layers", action="store_true", help="list the tensors of a net that can become features")


def _add_export(commands: _Commands) -> None:
    parser = _command(commands, "export", "make a backbone file out of a pretrained net, with a report")
    parser.add_argument(
        "source", help="keras:ResNet50, onnx:model.onnx[@tensor], a name or a file; see docs/backbones.md"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .onnx file to make")
    _add_layers(parser)
    parser.add_argument("--pooling", choices=["avg", "max", "cls"], help="how a map becomes a vector (avg)")
    parser.add_argument("--logits", action="store_true", help="keep the net's own classifier, for `fxengine predict`")
    parser.add_argument(
        "--size", type=_positive, nargs="+", metavar="N", help="input height and width, or both at once"
    )
    parser.add_argument("--weights", default="imagenet", help="for Keras: imagenet, random, or a file (imagenet)")
    parser.add_argument("--trust", action="store_true", help="run a SavedModel, which is a program")
    group = parser.add_argument_group("preprocessing of an ONNX file")
    group.add_argument(
        "--preprocess", type=Path, metavar="JSON", help="preprocessor_config.json, timm's config.json, or a recipe"
    )
    group.add_argument("--channels", choices=["rgb", "bgr"], help="order of the colours that the net takes")
    group.add_argument("--scale", type=float, metavar="S", help="factor of pixel values from 0 to 255")
    group.add_argument(
        "--mean", type=float, nargs=3, metavar="M", help="subtracted after --scale, in the order of --channels"
    )
    group.add_argument("--std", type=float, nargs=3, metavar="S", help="divided by after --mean")
    group.add_argument("--resize", metavar="RULE", help="short, long or squash, as short:256:bicubic")


def _add_backbones(commands: _Commands) -> None:
    _command(commands, "backbones", "list the backbones that can be used by name")


def _add_layers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layers", type=_names, default=(), metavar="A,B,C", help="layers to keep, the last one as the default feature"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _add_layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layer", metavar="NAME", help="a further layer of the store (the default one)")


def _positive(text: str) -> int:
    value = int(text.replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
