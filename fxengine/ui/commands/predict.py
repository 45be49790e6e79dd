"""`fxengine predict`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxengine.ui.arguments import PRECISIONS, add_backbone, add_output, add_places, call, positive
from fxengine.ui.console import (
    complain,
    printable,
    progress_shown,
    say,
    say_result,
    silent,
    table,
    text_column,
)
from fxengine.ui.exit_codes import FINE
from fxengine.ui.supervise import notes_folder, stop_if_orphaned
from fxengine.ui.words import in_flags

if TYPE_CHECKING:
    from fxengine.probing.prediction import Prediction, Predictions

TEXT = "say what pictures or texts are, by the backbone's own classes or by a trained head"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="?",
        metavar="INPUTS|STORE",
        help="pictures, a table or folder of texts, or a store (then with --model)",
    )
    parser.add_argument("--model", type=Path, metavar="FILE", help="a head that `fxengine probe` wrote")
    add_backbone(parser)
    parser.add_argument("--top", type=positive, default=5, metavar="K", help="how many classes to name (5)")
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=PRECISIONS,
        help="what the backbone computes in (fp32)",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N inputs")
    add_places(parser, "0", margin=0.0)
    texts = parser.add_argument_group("texts")
    texts.add_argument("--text", action="append", default=[], metavar="TEXT", help="a text, instead of INPUTS")
    texts.add_argument(
        "--column", metavar="NAME", help='of a table, the texts (the only one, or "text"), or the pictures'
    )
    texts.add_argument("--id-column", metavar="NAME", help="of a table, the rows' ids (FILE#ROW)")
    texts.add_argument("--spans", action="store_true", help="find spans (named entities), by a net that says of tokens")
    add_output(parser, "write .json, .csv or .parquet instead of a table")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.predict import predict

    with progress_shown("predicting", silent(options)) as progress:
        found = call(predict, options, progress=progress, cancel=stop_if_orphaned, notes=notes_folder())
    if found.output is None:
        say_result(options, lambda: found.to_dict()["predictions"], lambda: _show(found, options.inputs))
    else:
        words = f"{_counted(found)} written to {printable(found.output)}"
        say_result(options, lambda: _written(found), lambda: complain("\n".join([words, *_cut(found)])))
    return FINE


def _written(found: Predictions) -> dict[str, object]:
    told: dict[str, object] = {"output": found.output, "count": found.count, "failed": found.failed}
    if found.spans is not None:
        told |= {"truncated": found.truncated, "spans": found.spans}
    return told


def _counted(found: Predictions) -> str:
    if found.spans is None:
        return f"{found.count} predictions ({found.failed} failed)"
    return f"{found.spans} spans in {found.count} texts ({found.failed} failed)"


def _cut(found: Predictions) -> list[str]:
    if not found.truncated:
        return []
    return [f"{found.truncated} of {found.count} texts were cut: the net took only their first tokens"]


def _show(found: Predictions, inputs: Path | None) -> None:
    if found.spans is None:
        show(found.predictions, inputs)
    else:
        show_spans(found.predictions)
        say(_counted(found))
    for line in _cut(found):
        say(line)


def show(predictions: Sequence[Prediction], inputs: Path | None) -> None:
    """Print what the inputs are, of texts in a table or files with their beginnings; without any, texts by themselves
    are named by themselves.
    """
    names, texts = text_column(_with_texts(predictions, inputs))
    rows = []
    for p, text in zip(predictions, texts, strict=True):
        shown = [f"{value:.4g}" for value in p.values] or [f"{share:.0%}" for share in p.probabilities]
        named = ", ".join(f"{label} {value}" for label, value in zip(p.labels, shown, strict=True))
        rows.append([p.id, named if p.error is None else f"failed: {in_flags(p.error)}", *text])
    table(["id", "answers", *names], rows)


def show_spans(predictions: Sequence[Prediction]) -> None:
    """Print the spans that were found in texts, and why others failed."""
    rows = []
    for p in predictions:
        if p.error is not None:
            rows.append([p.id, "", "", f"failed: {in_flags(p.error)}", "", ""])
        for span in p.spans:
            rows.append([p.id, str(span.start), str(span.end), span.text, span.label, f"{span.score:.4f}"])
    table(["id", "start", "end", "text", "label", "score"], rows, {"start", "end", "score"})


def _with_texts(predictions: Sequence[Prediction], inputs: Path | None) -> list[dict[str, Any]]:
    """Return id and, of texts, `text` of each."""
    from fxengine.features.texts import with_texts

    rows: list[dict[str, Any]] = [{"id": p.id} for p in predictions]
    if inputs is None:
        return rows
    if any(p.text is not None for p in predictions):
        return [{**row, "text": p.text or ""} for row, p in zip(rows, predictions, strict=True)]
    return with_texts(rows, inputs)  # where they are a store
