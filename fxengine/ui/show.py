"""Prints what a command found, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fxengine.ui.console import printable, say, table

if TYPE_CHECKING:
    from fxengine.extraction_summary import Summary
    from fxengine.tasks.export import Exported
    from fxengine.tasks.predict import Prediction
    from fxengine.tasks.probe import ProbeReport
    from fxengine.tasks.search import SearchReport
    from fxengine.tasks.verify import VerifyReport


def show_summary(summary: Summary) -> None:
    """Print what an extraction did."""
    failed = sum(summary.failed.values())
    say(f"{summary.store}: {summary.extracted} extracted, {failed} failed, {summary.unchanged} unchanged")
    for name, count in (
        ("changed inputs, computed again", summary.changed),
        ("renamed inputs, vector kept", summary.moved),
        ("rows with a new label or split", summary.relabelled),
        ("rows removed, their input is gone", summary.pruned),
        ("rows whose input is gone (--prune removes them)", summary.missing - summary.pruned),
    ):
        if count:
            say(f"  {count} {name}")
    for code, count in sorted(summary.failed.items(), key=lambda pair: -pair[1]):
        say(f"  {count} failed: {code}")
    for folder in summary.unreadable_folders:
        say(f"  folder could not be read: {printable(folder)}")
    if summary.extracted + failed:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in summary.stage_share.items())
        say(
            f"  {summary.compute_seconds:.1f} s, {summary.images_per_second:.0f} images/s with {summary.backbone} in "
            f"{summary.precision} on {summary.provider}"
        )
        say(f"  work: {shares}; bound by: {summary.bound_by}")
    if summary.interrupted:
        say("  interrupted: what was finished is in the store; the same command goes on from here")


def show_probe(report: ProbeReport) -> None:
    """Print how well a probe does."""
    say(f"accuracy {report.accuracy}, {report.folds}-fold cross-validation over {report.rows} rows")
    say(f"always answering the most frequent class: {report.chance:.1%}")
    worst = sorted(report.recall.items(), key=lambda pair: pair[1])
    rows = [[name, str(report.classes[name]), f"{recall:.0%}"] for name, recall in worst[:20]]
    if len(worst) > 20:
        say(f"the 20 hardest of {len(worst)} classes:")
    table(["class", "rows", "recognised"], rows, {"rows", "recognised"})
    say(f"head written to {report.head}" if report.head else "no head written; -o head.onnx keeps it")


def show_search(report: SearchReport) -> None:
    """Print the neighbours of a query."""
    rows = [[str(i), f"{n.score:.4f}", n.label or "", n.id] for i, n in enumerate(report.neighbours, 1)]
    say(f"nearest to {printable(report.query)} among {report.rows} rows")
    table(["", "cosine", "label", "id"], rows, {"", "cosine"})
    say(
        f"store opened in {report.open_ms:.0f} ms, backbone loaded in {report.load_ms:.0f} ms; "
        f"first query {report.first_ms:.1f} ms, warm {report.warm_ms:.1f} ms (exact, cosine)"
    )


def show_predictions(predictions: list[Prediction]) -> None:
    """Print what the pictures show."""
    rows = []
    for p in predictions:
        named = ", ".join(f"{label} {share:.0%}" for label, share in zip(p.labels, p.probabilities, strict=True))
        rows.append([p.id, named if p.error is None else f"failed: {p.error}"])
    table(["id", "most probable classes"], rows)


def show_export(made: Exported) -> None:
    """Print what an export made."""
    facts = made.file.facts
    say(f"{printable(str(made.file.path))}: {facts.name}, space {made.file.fingerprint[:12]}")
    say(f"  from {printable(facts.source)}; licence {facts.licence}")
    say(f"  cut at {printable(facts.cut)}, pooling {facts.pooling}")
    for name, dim in facts.layers:
        say(f"  further layer {printable(name)}: {dim}")
    for line in made.report.to_text().splitlines():
        say(f"  {printable(line)}")
    say(f"  report: {printable(str(made.report_path))}")


def show_layers(rows: list[dict[str, Any]]) -> None:
    """Print the tensors that can become features."""
    cells = [
        ["*" if row["default"] else "", row["tensor"], row["op"], " x ".join(map(str, row["shape"] or ["?"]))]
        for row in rows
    ]
    table(["", "tensor", "op", "shape"], cells)
    say("* what is cut by default")


def show_backbones(rows: list[dict[str, Any]]) -> None:
    """Print the backbones that can be used by name."""
    cells = [
        [
            row["name"],
            _count(row["dim"]),
            _count(row["size"]),
            "" if row["parameters"] is None else f"{row['parameters'] / 1e6:.1f} M",
            "" if row["multiply_adds"] is None else f"{row['multiply_adds'] / 1e6:,.0f} M",
            row["licence"],
            ("cached" if row["cached"] else "ready") if row["installed"] else row["install"],
        ]
        for row in rows
    ]
    names = ["name", "dim", "input", "parameters", "multiply-adds", "licence", "state"]
    table(names, cells, {"dim", "input", "parameters", "multiply-adds"})
    say("also: onnx:FILE for any ONNX file, keras:FOLDER or keras:FILE.keras for your own nets (docs/backbones.md)")


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def show_verify(report: VerifyReport) -> None:
    """Print what a check found, and what to do about it."""
    say(f"{report.parts} parts checked, {report.rows} rows in good ones; {report.sampled} rows computed again")
    for name, problem in report.bad_parts.items():
        say(f"  bad part {name}: {printable(problem)}")
    for key, problem in report.wrong.items():
        say(f"  wrong row {printable(key)}: {problem}")
    if report.changed:
        say(f"  {len(report.changed)} inputs of the sample changed or went since: run `fxengine extract` again")
    if report.repair is not None:
        say(f"mended: {report.repair.extracted} rows computed again, {sum(report.repair.failed.values())} failed")
        for name in report.lost:
            say(f"  {name} could not be read at all: kept as {name}.damaged; its inputs got new row numbers")
    elif not report.fine:
        say("`fxengine verify --repair` computes again what is bad, and only that")
    else:
        say("nothing is wrong")


def show_info(facts: dict[str, Any], indent: str = "") -> None:
    """Print what something is, a fact a line."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            say(f"{indent}{name}")
            show_info(value, indent + "  ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            say(f"{indent}{name:<{width}}  {printable(text)}")
