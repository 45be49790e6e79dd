"""`fxengine extract`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import (
    BACKBONE,
    BACKBONE_OF_TEXTS,
    DTYPES,
    PRECISIONS,
    add_backbone,
    add_inputs,
    add_layers,
    add_output,
    add_places,
    add_repository,
    add_word_vectors,
    call,
    positive,
)
from fxengine.ui.console import progress_shown, say, say_result, silent
from fxengine.ui.exit_codes import FINE, TOO_MANY_ERRORS
from fxengine.ui.supervise import orphaned

if TYPE_CHECKING:
    from fxengine.pipeline.summary import Summary

TEXT = "turn a folder of pictures, or a table of texts, into a store of feature vectors, or bring it up to date"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_inputs(
        parser,
        "a folder, searched recursively, a picture, a tar, zip or Parquet file of them, a table or folder of texts, or "
        "what lies at s3://, gs:// or az://; https:// with --list",
    )
    add_output(parser, "the store: its folder, or its place in a bucket", required=True, metavar="STORE", dest="store")
    add_backbone(parser, default_shown=f"{BACKBONE}; for a table of texts {BACKBONE_OF_TEXTS}")
    add_layers(parser)
    add_word_vectors(parser)
    add_repository(parser)
    parser.add_argument("--dtype", default="float16", choices=DTYPES, help="type of the stored vectors (float16)")
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        dest="listing",
        help="take the paths in this .txt, .csv, .tsv or .parquet (relative to the inputs)",
    )
    inputs.add_argument(
        "--include", action="append", default=[], metavar="GLOB", help="only files that fit; may be repeated"
    )
    inputs.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="no files that fit; may be repeated"
    )
    add_places(parser, "the store's, else 0")
    inputs.add_argument("--limit", type=positive, metavar="N", help="only the first N files")
    inputs.add_argument(
        "--max-pixels", type=positive, metavar="N", help="refuse larger pictures (the store's, else 128 million)"
    )
    inputs.add_argument(
        "--max-bytes",
        type=positive,
        metavar="N",
        help="refuse larger files (the store's, else 1 billion; of texts a million)",
    )
    _add_texts(parser)
    update = parser.add_argument_group("update of a store")
    update.add_argument("--retry-failed", action="store_true", help="try inputs again that failed for a lasting reason")
    update.add_argument("--prune", action="store_true", help="remove rows whose input is gone")
    update.add_argument("--yes", action="store_true", help="also where that is more than 20%% of the rows")
    update.add_argument(
        "--allow-mixed-precision", action="store_true", help="go on in another precision than the store's"
    )
    update.add_argument(
        "--add-columns",
        action="append",
        default=[],
        metavar="GROUP",
        help="give every row a group of further columns; may be repeated",
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--precision",
        default="auto",
        choices=PRECISIONS,
        help="what the model computes in (auto: the fastest that keeps the features, see `fxengine calibrate`)",
    )
    run.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="pictures in one run of the model (4 on a CPU, 128 on a GPU); of texts, tokens (128, 16,384, words 4,096)",
    )
    run.add_argument("--decoders", type=positive, metavar="N", help="decoding threads (one a core)")
    run.add_argument(
        "--decode-on",
        default="cpu",
        choices=["cpu", "gpu"],
        help="what decodes JPEGs; a GPU where the CPU cannot feed it (cpu)",
    )
    run.add_argument("--part-rows", type=positive, default=8192, metavar="N", help="rows of a part at most (8192)")
    run.add_argument(
        "--workers",
        metavar="N",
        help="compute by N processes, one a GPU or a share of the cores; or by Ray: ray, ray://HOST:PORT",
    )
    run.add_argument(
        "--shard", metavar="I/N", help="compute one of N shares of the new inputs, as 3/16, without a driver"
    )
    run.add_argument("--finish", action="store_true", help="end a run of shares: take in what changed or was renamed")
    run.add_argument("--max-errors", type=int, metavar="N", help="exit with 2 where more inputs failed (all may)")


def _add_texts(parser: argparse.ArgumentParser) -> None:
    texts = parser.add_argument_group("texts in a .csv, .tsv, .jsonl, .parquet or .txt, and pictures in a .parquet")
    texts.add_argument("--column", metavar="NAME", help='the texts (the only one, or "text"), or the pictures')
    texts.add_argument("--id-column", metavar="NAME", help="the rows' ids (FILE#ROW)")
    texts.add_argument("--label-column", metavar="NAME", help="their labels")
    texts.add_argument("--split-column", metavar="NAME", help="whether they are train, val or test")
    texts.add_argument("--keep-text", action="store_true", help="store the texts, too, for pages away from the table")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.pipeline.extract import extract

    with progress_shown("extracting", silent(options)) as progress:
        summary = call(extract, options, progress=progress, cancel=orphaned)
    say_result(options, summary.to_dict, lambda: show(summary))
    if summary.interrupted:
        return int(options.stopped)
    failed = sum(summary.failed.values())
    if summary.units_open:
        return TOO_MANY_ERRORS
    return TOO_MANY_ERRORS if options.max_errors is not None and failed > options.max_errors else FINE


def _not_read(summary: Summary) -> list[str]:
    folders = [f"could not be read: {folder}" for folder in summary.unreadable_folders]
    return [*folders, summary.absent] if summary.absent else folders


def show(summary: Summary) -> None:
    """Print what an extraction did."""
    failed = sum(summary.failed.values())
    say(f"{summary.store}: {summary.extracted} extracted, {failed} failed, {summary.unchanged} unchanged")
    for name, count in (
        ("changed inputs, computed again", summary.changed),
        ("rows computed again for further columns", summary.widened),
        ("renamed inputs, vector kept", summary.moved),
        ("rows with a new label or split", summary.relabelled),
        ("rows removed, their input is gone", summary.pruned),
        ("rows whose input is gone (--prune removes them)", summary.missing - summary.pruned),
    ):
        if count:
            say(f"  {count} {name}")
    _show_units(summary)
    for code, count in sorted(summary.failed.items(), key=lambda pair: -pair[1]):
        say(f"  {count} failed: {code}")
    for line in _not_read(summary):
        say(f"  {line}")
    if summary.truncated:
        say(f"  {summary.truncated} of {summary.extracted} texts were cut at {summary.max_tokens} tokens")
    if summary.coverage is not None:
        say(f"  {summary.coverage:.1%} of the words are known to {summary.backbone} (of texts with a vector)")
    if summary.extracted + failed:
        things = "texts" if summary.modality == "text" else "images"
        shares = ", ".join(f"{name} {share:.0%}" for name, share in summary.stage_share.items())
        say(
            f"  {summary.compute_seconds:.1f} s, {summary.images_per_second:.0f} {things}/s with {summary.backbone} in "
            f"{summary.precision} on {summary.provider}"
        )
        say(f"  work: {shares}; bound by: {summary.bound_by}")
        if summary.bound_by == "decode" and not summary.provider.startswith(("CPU", "OpenVINO")):
            say("  the CPU does not feed the GPU: try --decode-on gpu (pip install 'fxengine[gpu-decode]')")
    if summary.interrupted:
        say("  interrupted: what was finished is in the store; the same command goes on from here")


def _show_units(summary: Summary) -> None:
    if summary.units:
        died = f", {summary.worker_deaths} died on the way" if summary.worker_deaths else ""
        say(f"  units: {summary.units}, workers: {summary.workers or 1}{died}")
    for why in summary.units_open:
        say(f"  left open for the next run: {why}")
