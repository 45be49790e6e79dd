"""`fxengine compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.ui.arguments import add_labels, call, place
from fxengine.ui.console import progress_lines, say, say_notes, say_result, silent, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.probing.compare import Comparison

TEXT = "rank backbones or layers on your labels, with the same folds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("stores", type=place, nargs="+", metavar="STORE", help="stores of the same pictures or texts")
    add_labels(parser, "the stores' own labels")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a page with the ranking")
    parser.add_argument("--head", help="(logistic where the vectors fit into memory, else ridge)")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="folds of the cross-validation (5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    parser.add_argument(
        "--near", type=float, default=0.95, metavar="C", help="cosine from which rows stay in one fold (0.95)"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.compare import compare
    from fxengine.ui.pages import write_page

    found = call(compare, options, progress=progress_lines(silent(options)))
    if options.report is not None:
        write_page(found, options.report)
    say_result(options, found.to_dict, lambda: show(found))
    return FINE


def show(found: Comparison) -> None:
    """Print the ranking."""
    metric = found.metric.replace("_", " ")
    say(f"{metric} of {found.head}, {found.folds}-fold cross-validation over the same {found.rows} rows")
    say_notes(found.notes)
    rate = "texts/s" if found.modality == "text" else "images/s"
    numbers = ["95% interval", "LogME", "dim", rate, "M multiply-adds"]
    rows = [
        [
            f"{each.store} {each.layer or ''}".strip(),
            f"{each.score.mean:.1%}",
            f"{each.score.low:.1%} to {each.score.high:.1%}",
            f"{each.log_me:.3f}",
            str(each.dim),
            "" if each.images_per_second is None else f"{each.images_per_second:.0f}",
            "" if each.multiply_adds is None else f"{each.multiply_adds / 1e6:.0f}",
        ]
        for each in found.candidates
    ]
    table(["store and layer", metric, *numbers], rows, {metric, *numbers})
    of = " of 64 tokens" if found.modality == "text" else ""
    say(f"{rate}: the backbone alone in fp32{of}, measured now; LogME: higher is better, no training")
