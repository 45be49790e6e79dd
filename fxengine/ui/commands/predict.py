"""`fxengine predict`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import PRECISIONS, add_backbone, add_output, positive
from fxengine.ui.console import complain, progress_shown, say_json, table
from fxengine.ui.exit_codes import FINE
from fxengine.ui.supervise import notes_folder, stop_if_orphaned

if TYPE_CHECKING:
    from fxengine.probing.predict import Prediction

TEXT = "name what pictures show, by the backbone's own classes or by a trained head"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("source", type=Path, metavar="PHOTOS|STORE")
    parser.add_argument("--model", type=Path, metavar="HEAD", help="a head that `fxengine probe` wrote")
    add_backbone(parser)
    parser.add_argument("--top", type=positive, default=5, metavar="K", help="how many classes to name (5)")
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=PRECISIONS,
        help="what the backbone computes in (fp32)",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N files")
    add_output(parser, "write .json, .csv or .parquet instead of a table")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.predict import predict
    from fxengine.probing.predictions_file import write_predictions

    with progress_shown("predicting", options.json) as progress:
        found = predict(
            options.source,
            model=options.model,
            backbone=options.backbone,
            top=options.top,
            device=options.device,
            precision=options.precision,
            limit=options.limit,
            progress=progress,
            cancel=stop_if_orphaned,
            notes=notes_folder(),
        )
        if options.output is not None:
            count, failed = write_predictions(found, options.output)
        else:
            predictions = list(found)
    if options.output is not None:
        complain(f"{count} predictions ({failed} failed) written to {options.output}")
    elif options.json:
        say_json([vars(prediction) for prediction in predictions])
    else:
        show(predictions)
    return FINE


def show(predictions: list[Prediction]) -> None:
    """Print what the pictures show."""
    rows = []
    for p in predictions:
        shown = [f"{value:.4g}" for value in p.values] or [f"{share:.0%}" for share in p.probabilities]
        named = ", ".join(f"{label} {value}" for label, value in zip(p.labels, shown, strict=True))
        rows.append([p.id, named if p.error is None else f"failed: {p.error}"])
    table(["id", "answers"], rows)
