"""`fxengine finetune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from fxengine.errors import InputError
from fxengine.heads.estimator import Kind
from fxengine.train.layout import RUN
from fxengine.train.options import Net, Optimizer
from fxengine.ui.arguments import (
    BACKBONE,
    add_inputs,
    add_labels,
    add_output,
    add_pooling,
    add_word_vectors,
    call,
    positive,
)
from fxengine.ui.console import complain, progress_lines, progress_shown, say, say_notes, say_result, silent
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.train.report import FinetuneReport

TEXT = "train a backbone further on labelled pictures or texts, where a head on its features is not enough"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_inputs(parser, "a folder of pictures, a folder a class, or a table of texts")
    add_output(parser, "the .onnx file to make")
    parser.add_argument("--force", action="store_true", help="replace what is there even where it did better")
    add_training(parser)
    parser.add_argument(
        "--preview-augment", type=Path, metavar="PNG", help="draw what --augment does to each class; train nothing"
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Declare how to train."""
    parser.add_argument(
        "--backbone", default=BACKBONE, metavar="NAME", help=f"for texts vectors:FILE or torch-hf:NAME ({BACKBONE})"
    )
    parser.add_argument("--weights", default="imagenet", help="imagenet (the net's own), random, or a file (imagenet)")
    parser.add_argument("--size", type=positive, nargs="+", metavar="N", help="input size, where the net allows it")
    add_pooling(parser)
    parser.add_argument(
        "--preprocess", type=Path, metavar="JSON", help="how pixels are prepared, for a net of one's own"
    )
    parser.add_argument("--trust", action="store_true", help="load a SavedModel, or a repository's code and pickles")
    add_labels(parser, "the folders")
    parser.add_argument("--kind", choices=get_args(Kind), help="what the columns are (as they look)")
    _add_texts(parser)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--unfreeze", metavar="WHAT", help="all, N last layers, or from a layer on (all); of texts all or none (none)"
    )
    group.add_argument("--rate", type=float, help="learning rate (three are tried, around 1e-4, of texts 1e-3)")
    group.add_argument("--optimizer", default="adamw", choices=get_args(Optimizer), help="(adamw)")
    group.add_argument("--epochs", type=positive, default=15, metavar="N", help="at most (15)")
    group.add_argument("--patience", type=positive, default=4, metavar="N", help="stop after N epochs in vain (4)")
    group.add_argument("--batch", type=positive, default=16, metavar="N", help="halved where memory runs out (16)")
    group.add_argument("--label-smoothing", type=float, default=0.0, metavar="S", help="(0)")
    group.add_argument("--balanced", action="store_true", help="let every class count as much, whatever its rows")
    group.add_argument(
        "--augment", default="light", metavar="WHAT", help="none, light, strong, or flip,zoom,... (light)"
    )
    group = parser.add_argument_group("evaluation, without folders train/, val/ and test/")
    group.add_argument("--validation", type=float, default=0.2, metavar="SHARE", help="to select on (0.2)")
    group.add_argument("--test", type=float, default=0.2, metavar="SHARE", help="to report on (0.2)")
    group.add_argument(
        "--near", type=float, default=0.97, metavar="C", help="cosine from which rows stay on one side (0.97)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (0)")


def _add_texts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("texts in a .csv, .tsv, .jsonl, .parquet or .txt")
    group.add_argument("--column", metavar="NAME", help='the texts (the only column, or the one called "text")')
    group.add_argument("--id-column", metavar="NAME", help="the rows' ids (FILE#ROW)")
    group.add_argument("--label-column", metavar="NAME", help="their labels")
    group.add_argument("--split-column", metavar="NAME", help="whether they are train, val or test")
    group.add_argument("--net", choices=get_args(Net), help="what is trained over the vectors of words (bilstm)")
    group.add_argument("--units", type=positive, default=64, metavar="N", help="of that net (64)")
    group.add_argument("--max-words", type=positive, default=256, metavar="N", help="a text is cut behind them (256)")
    add_word_vectors(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.train.finetune import finetune, preview_augmentation
    from fxengine.ui.pages.finetune import write_run

    if (sheet := options.preview_augment) is not None:
        call(preview_augmentation, options, sheet=sheet)
        say_result(options, lambda: {"samples": str(sheet)}, lambda: say(f"samples written to {sheet}"))
        return FINE
    if options.output is None:
        raise InputError("`output` is needed: the .onnx file to make.")
    try:
        with progress_shown("training", silent(options)) as progress:
            report = call(finetune, options, progress=progress, tell=progress_lines(silent(options)))
    except KeyboardInterrupt:
        kept = options.output.with_suffix(RUN)
        if kept.is_dir() and not silent(options):
            complain(f"  what was finished is kept in {kept}: the same command goes on from there")
        raise
    page = write_run(report)
    say_result(options, report.to_dict, lambda: show(report, page))
    return FINE


def show(report: FinetuneReport, page: Path) -> None:
    """Print what a training gained."""
    things = f"{report.modality}s"
    sides = ", ".join(f"{count} {name}" for name, count in report.rows.items())
    failed = "could not be decoded" if report.modality == "picture" else "have no word that is known, or are no text"
    say(f"{report.backbone} trained further on {sides} {things}; {report.failed} {failed}")
    say_notes(report.notes)
    if report.history:
        say(f"  rate {report.rate:g}, {report.trained_layers} layers, best after epoch {report.best_epoch} of "
            f"{len(report.history)}, {report.seconds:.0f} s")  # fmt: skip
    say(f"  probe on the frozen features, test {report.metric.replace('_', ' ')}: {report.probe.test}")
    if report.history:
        say(f"  tuned, test {report.metric.replace('_', ' ')}: {report.tuned.test}")
    say(f"  {report.why}")
    if report.kept == "tuned":
        say(f"tuned backbone written to {report.output}, its head to {report.head}")
    else:
        say(f"the original backbone is kept as {report.output}, with the probe as {report.head}")
    say(f"  page: {page}")
