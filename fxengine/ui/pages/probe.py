"""A probe's report as one self-contained page: scores, plots, and what it is most surely wrong about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxengine.ui.pages import html, plots

if TYPE_CHECKING:
    from fxengine.probing.report import BesideZeroShot, ProbeReport


def probe_page(report: ProbeReport) -> str:
    """Return a page of the probe of a store, whose inputs are read where they were when it was made."""
    return html.page(f"Probe of {report.store}", "\n".join(probe_parts(report)))


def probe_parts(report: ProbeReport) -> list[str]:
    """Return the parts of the page."""
    parts = [f"<p>{html.text(line)}</p>" for line in _summary(report)]
    parts.append(html.table(["score", "value"], [[_words(name), value] for name, value in report.scores.items()]))
    if report.curve is not None:
        expected = [(rows, each.mean, each.low, each.high) for rows, each in report.curve.expected]
        drawn = plots.learning_curve(report.curve.rows, report.curve.scores, expected, report.metric)
        parts += ["<h2>What more rows would bring</h2>", html.drawing(drawn, "learning curve")]
    if report.zero_shot is not None:
        parts += _beside(report.zero_shot)
    if report.per_class:
        rows = sorted(report.per_class.items(), key=lambda pair: pair[1].recall)
        cells = [[name, each.rows, each.recall, each.precision, each.f1] for name, each in rows]
        parts += [
            "<h2>Classes, the hardest first</h2>",
            html.table(["class", "rows", "recognised", "precision", "F1"], cells),
        ]
    if report.confusion:
        drawn = plots.confusion(report.confusion, list(report.per_class))
        parts += ["<h2>What is taken for what</h2>", html.drawing(drawn, "confusion matrix")]
        drawn = plots.reliability(report.reliability)
        parts += ["<h2>Is it as sure as it is right?</h2>", html.drawing(drawn, "reliability diagram")]
    if report.mistakes:
        inputs = html.stored_inputs(report.store, report.root, [mistake.id for mistake in report.mistakes])
        shown = [
            inputs.draw(mistake.id, f"{mistake.label} taken for {mistake.answer} ({mistake.probability:.0%})")
            for mistake in report.mistakes
        ]
        parts += ["<h2>Most confident mistakes</h2>", html.pictures(shown)]
    return parts


def _beside(found: BesideZeroShot) -> list[str]:
    score = found.score
    said = (
        f"Zero-shot, without any label: accuracy {score.mean:.3f}, 95% interval {score.low:.3f} to {score.high:.3f}. "
        f"Trained on so many labels of each class as below, {found.in_words()}. It wins where its "
        f"whole interval lies above {found.compared:.3f}, zero-shot on the same rows."
    )
    rows = [[labels, each.mean, each.low, each.high] for labels, each in found.few]
    return [
        "<h2>With and without labels</h2>",
        f"<p>{html.text(said)}</p>",
        html.table(["labels of each class", "accuracy", "low", "high"], rows),
    ]


def _summary(report: ProbeReport) -> list[str]:
    score = report.score
    lines = [
        f"{_words(report.metric)} {score.mean:.3f}, 95% interval {score.low:.3f} to {score.high:.3f}: {report.head}, "
        f"{report.evaluation} over {report.rows} rows. Always giving the most frequent answer: {report.chance:.3f}.",
        *report.notes,
    ]
    if report.ungrouped is not None:
        lines.append(
            f"{report.duplicates} rows have near-duplicates. They stay in one fold; were they in any fold, the score "
            f"would say {report.ungrouped.mean:.3f}."
        )
    if report.without_copies is not None:
        lines.append(
            f"{report.duplicates} of the test rows have near-duplicates among the training rows; without them the "
            f"score is {report.without_copies.mean:.3f}."
        )
    elif report.duplicates and report.ungrouped is None:
        lines.append(
            "All test rows have near-duplicates among the training rows: the score says nothing of other inputs."
        )
    if len(report.tried) > 1:
        lines.append("Tried: " + ", ".join(f"{name} {each.mean:.3f}" for name, each in report.tried.items()) + ".")
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")
