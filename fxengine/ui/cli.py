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

from fxengine.errors import FxError
from fxengine.ui import console
from fxengine.ui.arguments import MISTAKE, build_parser
from fxengine.ui.supervise import is_child, orphaned, supervise

FINE, TOO_MANY_ERRORS, INTERRUPTED, TERMINATED = 0, 2, 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.filterwarnings("ignore", module=r"PIL\..*")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of a file is in the file's row
    options = build_parser().parse_args(arguments)
    options.terminated = False
    if options.command == "extract" and not is_child():
        return supervise(arguments, options.output)
    signal.signal(signal.SIGTERM, partial(_terminate, options))
    try:
        with console.native_libraries_silenced():
            return COMMANDS[options.command](options)
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

    with console.progress_shown("extracting", options.quiet or options.json) as progress:
        summary = extract(
            options.photos,
            options.output,
            backbone=options.backbone or "efficientnet_lite0",
            layers=options.layers,
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

    with console.progress_shown("predicting", options.json) as progress:
        found = predict(
            options.source,
            model=options.model,
            backbone=options.backbone,
            top=options.top,
            device=options.device,
            limit=options.limit,
            progress=progress,
        )
        if options.output is not None:
            count, failed = write_predictions(found, options.output)
        else:
            predictions = list(found)
    if options.output is not None:
        console.complain(f"{count} predictions ({failed} failed) written to {options.output}")
    elif options.json:
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


def _export(options: argparse.Namespace) -> int:
    from fxengine.backbones.options import ExportOptions
    from fxengine.tasks.export import export
    from fxengine.ui.show import show_export

    wanted = ExportOptions(
        layers=options.layers,
        pooling=options.pooling,
        logits=options.logits,
        size=options.size and (options.size[0], options.size[-1]),
        weights=options.weights,
        trust=options.trust,
        preprocess=options.preprocess,
        channels=options.channels,
        scale=options.scale,
        mean=options.mean and tuple(options.mean),
        std=options.std and tuple(options.std),
        resize=options.resize,
    )
    made = export(options.source, options.output, wanted)
    if options.json:
        console.say_json(made.to_dict())
    else:
        show_export(made)
    return FINE


def _backbones(options: argparse.Namespace) -> int:
    from fxengine.tasks.list_backbones import list_backbones
    from fxengine.ui.show import show_backbones

    rows = list_backbones()
    if options.json:
        console.say_json(rows)
    else:
        show_backbones(rows)
    return FINE


def _info(options: argparse.Namespace) -> int:
    from fxengine.tasks.info import describe, layers
    from fxengine.ui.show import show_info, show_layers

    if options.layers:
        found = layers(options.target)
        if options.json:
            console.say_json(found)
        else:
            show_layers(found)
        return FINE
    facts = describe(options.target)
    if options.json:
        console.say_json(facts)
    else:
        show_info(facts)
    return FINE


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "extract": _extract,
    "probe": _probe,
    "predict": _predict,
    "search": _search,
    "export": _export,
    "backbones": _backbones,
    "verify": _verify,
    "dump": _dump,
    "info": _info,
}


if __name__ == "__main__":
    raise SystemExit(main())
