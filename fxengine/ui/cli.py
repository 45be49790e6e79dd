"""The command line: one function a command, no logic.

Exit codes: 0 fine; 1 a usage mistake, something given cannot be used, or `verify` found fault; 2 finished, but with
more failed inputs than --max-errors allows; 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from fxengine.errors import FxError
from fxengine.ui import console
from fxengine.ui.supervise import is_child, orphaned, supervise

FINE, MISTAKE, TOO_MANY_ERRORS, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(MISTAKE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of a file is in the file's row
    options = build_parser().parse_args(arguments)
    options.terminated = False
    if options.run is _extract and not is_child():
        return supervise(arguments, options.output)
    signal.signal(signal.SIGTERM, partial(_terminate, options))
    try:
        with console.native_libraries_silenced():
            run: Callable[[argparse.Namespace], int] = options.run
            return run(options)
    except FxError as error:
        console.complain(f"fxengine: {console.printable(str(error))}")
        return MISTAKE
    except KeyboardInterrupt:
        console.complain("fxengine: interrupted")
        return TERMINATED if options.terminated else INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None
        return FINE


def _terminate(options: argparse.Namespace, _: int, __: object) -> None:
    """Stop as cleanly on SIGTERM as on Ctrl-C."""
    options.terminated = True
    raise KeyboardInterrupt


def _extract(options: argparse.Namespace) -> int:
    from fxengine.decode import Limits
    from fxengine.extraction import extract
    from fxengine.ui.show import show_summary

    with console.extraction_progress(options.quiet or options.json) as progress:
        summary = extract(
            options.photos,
            options.output,
            backbone=options.backbone or "efficientnet_lite0",
            device=options.device,
            dtype=options.dtype,
            listing=options.list,
            include=tuple(options.include),
            exclude=tuple(options.exclude),
            limit=options.limit,
            batch_size=options.batch_size,
            decoders=options.decoders,
            limits=Limits(max_pixels=options.max_pixels, max_bytes=options.max_bytes),
            part_rows=options.part_rows,
            retry_failed=options.retry_failed,
            prune=options.prune,
            yes=options.yes,
            allow_mixed_precision=options.allow_mixed_precision,
            progress=progress,
            cancel=orphaned,
        )
    if options.json:
        console.say_json(summary.to_dict())
    elif not options.quiet:
        show_summary(summary)
    if summary.interrupted:
        return TERMINATED if options.terminated else INTERRUPTED
    failed = sum(summary.failed.values())
    return TOO_MANY_ERRORS if options.max_errors is not None and failed > options.max_errors else FINE


def _probe(options: argparse.Namespace) -> int:
    from fxengine.tasks.probe import probe
    from fxengine.ui.show import show_probe

    report = probe(options.store, options.output, folds=options.folds, seed=options.seed, layer=options.layer)
    if options.json:
        console.say_json(report.to_dict())
    else:
        show_probe(report)
    return FINE


def _predict(options: argparse.Namespace) -> int:
    from fxengine.tasks.predict import predict
    from fxengine.tasks.predictions_file import write_predictions
    from fxengine.ui.show import show_predictions

    found = predict(
        options.source,
        model=options.model,
        backbone=options.backbone,
        top=options.top,
        device=options.device,
        limit=options.limit,
    )
    if options.output is not None:
        count, failed = write_predictions(found, options.output)
        console.complain(f"{count} predictions ({failed} failed) written to {options.output}")
        return FINE
    predictions = list(found)
    if options.json:
        console.say_json([vars(prediction) for prediction in predictions])
    else:
        show_predictions(predictions)
    return FINE


def _search(options: argparse.Namespace) -> int:
    from fxengine.tasks.search import search
    from fxengine.ui.show import show_search

    report = search(
        options.store,
        options.query,
        options.k,
        backbone=options.backbone,
        device=options.device,
        layer=options.layer,
    )
    if options.json:
        console.say_json(report.to_dict())
    else:
        show_search(report)
    return FINE


def _dump(options: argparse.Namespace) -> int:
    from fxengine.tasks.dump import dump

    made = dump(options.store, options.output, normalize=options.normalize, layer=options.layer)
    if options.json:
        console.say_json([str(path) for path in made])
    else:
        for path in made:
            console.say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return FINE


def _verify(options: argparse.Namespace) -> int:
    from fxengine.tasks.verify import verify
    from fxengine.ui.show import show_verify

    report = verify(
        options.store, sample=options.sample, repair=options.repair, backbone=options.backbone, device=options.device
    )
    if options.json:
        console.say_json(report.to_dict())
    else:
        show_verify(report)
    return FINE if report.fine else MISTAKE


def _info(options: argparse.Namespace) -> int:
    from fxengine.tasks.info import describe
    from fxengine.ui.show import show_info

    facts = describe(options.target)
    if options.json:
        console.say_json(facts)
    else:
        show_info(facts)
    return FINE


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
    _add_verify(commands)
    _add_dump(commands)
    _add_info(commands)
    return parser


def _version() -> str:
    import fxengine

    return fxengine.__version__


_Commands = argparse._SubParsersAction


def _command(commands: _Commands, name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_backbone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", metavar="NAME", help="a backbone's name or .onnx file (efficientnet_lite0)")
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda", "tensorrt"], help="what runs it (auto)"
    )


def _add_extract(commands: _Commands) -> None:  # type: ignore[type-arg]
    parser = _command(
        commands,
        "extract",
        _extract,
        "turn a folder of pictures into a store of feature vectors, or bring it up to date",
    )
    parser.add_argument("photos", type=Path, help="a folder, searched recursively, or one picture")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="STORE", help="the store's folder")
    _add_backbone(parser)
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


def _add_probe(commands: _Commands) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "probe", _probe, "train a classifier on a store's features and say how well it does")
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--output", type=Path, metavar="HEAD", help="write the head to this .onnx file")
    parser.add_argument("--folds", type=_positive, default=5, metavar="N", help="folds of the cross-validation (5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    _add_layer(parser)


def _add_predict(commands: _Commands) -> None:  # type: ignore[type-arg]
    parser = _command(
        commands, "predict", _predict, "name what pictures show, by the backbone's own classes or by a trained head"
    )
    parser.add_argument("source", type=Path, metavar="PHOTOS|STORE")
    parser.add_argument("--model", type=Path, metavar="HEAD", help="a head that `fxengine probe` wrote")
    _add_backbone(parser)
    parser.add_argument("--top", type=_positive, default=5, metavar="K", help="how many classes to name (5)")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N files")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write .json, .csv or .parquet instead of a table"
    )


def _add_search(commands: _Commands) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "search", _search, "find the stored pictures nearest to a query")
    parser.add_argument("store", type=Path)
    parser.add_argument("query", type=Path, help="a picture")
    parser.add_argument("-k", type=_positive, default=10, help="neighbours (10)")
    _add_layer(parser)
    _add_backbone(parser)


def _add_verify(commands: _Commands) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "verify", _verify, "check every part of a store; exit 1 where something is wrong")
    parser.add_argument("store", type=Path)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="also compute N rows again and compare (0)")
    parser.add_argument("--repair", action="store_true", help="compute again what is bad, and only that")
    _add_backbone(parser)


def _add_dump(commands: _Commands) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "dump", _dump, "write a store's vectors for other programs")
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help=".npy (+ .ids.csv), .csv or .parquet"
    )
    parser.add_argument("--normalize", action="store_true", help="scale every vector to length 1")
    _add_layer(parser)


def _add_info(commands: _Commands) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "info", _info, "say what a store, a backbone, a head or a backbone's name is")
    parser.add_argument("target")


def _add_layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layer", metavar="NAME", help="a further layer of the store (the default one)")


def _positive(text: str) -> int:
    value = int(text.replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
