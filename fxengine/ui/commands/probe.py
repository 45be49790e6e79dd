"""`fxengine probe`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from fxengine.heads import HEADS, Kind
from fxengine.ui.arguments import add_labels, add_layer, add_output, add_report, add_store, call, place, positive, sizes
from fxengine.ui.console import complain_of, progress_lines, say, say_notes, say_result, silent, table
from fxengine.ui.exit_codes import FINE

if TYPE_CHECKING:
    from fxengine.probing.report import BesideZeroShot, ProbeReport

TEXT = "train a head on a store's features and say how well it does"
NAMES = ("auto", *HEADS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_store(parser)
    add_output(parser, "write the head to this .onnx file")
    add_report(parser, "a page with plots and the mistaken pictures or texts")
    add_labels(parser)
    parser.add_argument("--kind", choices=get_args(Kind), help="what the columns are (as they look)")
    parser.add_argument("--head", choices=NAMES, help="(logistic where the vectors fit into memory, else ridge)")
    parser.add_argument("--pca", type=positive, default=0, metavar="N", help="reduce vectors to N numbers before it")
    parser.add_argument("--hidden", type=sizes, default=(), metavar="N[,N[,N]]", help="units of mlp's layers (256)")
    parser.add_argument("--balanced", action="store_true", help="let every class count as much, whatever its rows")
    parser.add_argument("--calibrate", action="store_true", help="calibrated probabilities, of the least log loss")
    parser.add_argument("--budget", type=float, default=60, metavar="S", help="seconds that --head auto may try (60)")
    group = parser.add_argument_group("evaluation")
    group.add_argument("--folds", type=int, default=5, metavar="N", help="folds of the cross-validation (5)")
    group.add_argument("--repeats", type=positive, default=1, metavar="N", help="times, with other folds (1)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds (0)")
    group.add_argument("--split", action="store_true", help="train on the split 'train', evaluate on the others")
    group.add_argument("--test", type=place, metavar="STORE", help="evaluate on this store instead")
    group.add_argument(
        "--near", type=float, default=0.95, metavar="C", help="cosine from which rows stay in one fold (0.95)"
    )
    group.add_argument("--curve", action="store_true", help="say what more rows would bring")
    group.add_argument(
        "--zeroshot",
        type=Path,
        metavar="FILE",
        help="also score this zero-shot head; from how many labels on does training win?",
    )
    add_layer(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from fxengine.probing.probe import probe
    from fxengine.ui.pages import write_page

    options.curve = options.curve or options.report is not None  # the page shows it
    report = call(probe, options, progress=progress_lines(silent(options)))
    if options.report is not None:
        write_page(report, options.report, pictures=options.pictures, tell=complain_of)
    say_result(options, report.to_dict, lambda: show(report, options.report))
    return FINE


def show(report: ProbeReport, page: Path | None) -> None:
    """Print how well a probe does."""
    shown = str(report.score) if report.kind == "classes" else _plain(report)
    say(f"{report.metric.replace('_', ' ')} {shown}, {report.head}, {report.evaluation} over {report.rows} rows")
    say_notes(report.notes)
    if report.kind == "classes":
        say(f"always answering the most frequent class: {report.chance:.1%}")
    others = [
        f"{name.replace('_', ' ')} {value:.3f}" for name, value in list(report.scores.items())[1:] if value is not None
    ]
    say(", ".join(others))
    if report.ungrouped is not None:
        say(
            f"{report.duplicates} rows have near-duplicates, kept in one fold; with them in any fold it would say "
            f"{report.ungrouped.mean:.1%}"
        )
    if report.without_copies is not None:
        say(
            f"{report.duplicates} of these rows have near-duplicates among those trained on; without them "
            f"{report.without_copies.mean:.1%}"
        )
    elif report.duplicates and report.ungrouped is None:
        say("all of these rows have near-duplicates among those trained on: the score says nothing of other inputs")
    if len(report.tried) > 1:
        say("tried: " + ", ".join(f"{name} {score.mean:.1%}" for name, score in report.tried.items()))
    if report.curve is not None:
        for rows, expected in report.curve.expected:
            say(f"expected with {rows} training rows: {expected}")
    if report.zero_shot is not None:
        _show_beside(report.zero_shot)
    show_classes(report)
    say(f"head written to {report.output}" if report.output else "no head written; -o head.onnx keeps it")
    if page is not None:
        say(f"report written to {page}")


def _show_beside(found: BesideZeroShot) -> None:
    say(f"zero-shot on the same rows: {found.score}")
    few = ", ".join(f"{labels}: {score.mean:.1%}" for labels, score in found.few)
    say(f"  trained on so many labels a class, {few}: {found.in_words()}")


def _plain(report: ProbeReport) -> str:
    score = report.score
    return f"{score.mean:.3f} (95% interval {score.low:.3f} to {score.high:.3f})"


def show_classes(report: ProbeReport) -> None:
    """Print the hardest classes or labels."""
    worst = sorted(report.per_class.items(), key=lambda pair: pair[1].recall)
    rows = [
        [name, str(each.rows), f"{each.recall:.0%}", f"{each.precision:.0%}", f"{each.f1:.2f}"]
        for name, each in worst[:20]
    ]
    if len(worst) > 20:
        say(f"the 20 hardest of {len(worst)} classes:")
    if rows:
        table(["class", "rows", "recognised", "precision", "F1"], rows, {"rows", "recognised", "precision", "F1"})
