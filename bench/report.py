"""Rewrites docs/figures.md, and the five figures in README.md, from bench/results/*.json.

python -m bench.report [--check]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.machine import DIRTY, RESULTS, ROOT
from bench.report_heads import HEADS
from bench.report_search import SEARCH
from bench.report_speed import SPEED
from bench.report_texts import TEXTS
from bench.report_words import WORDS

README, FIGURES = ROOT / "README.md", ROOT / "docs" / "figures.md"
BEGIN, END = "<!-- figures: made by bench/report.py -->", "<!-- end of figures -->"
MAKERS = {**SPEED, **HEADS, **SEARCH, **TEXTS, **WORDS}
FIVE = ("peers_efficientnet_lite0_12mp", "heads", "pca", "duplicates", "retrieval")


def read(name: str) -> dict[str, Any]:
    """Return a benchmark's result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def is_clean(result: dict[str, Any]) -> bool:
    """Return whether a commit holds the code that a result was measured with."""
    return not str(result["machine"]["commit"]).endswith(DIRTY)


def figures() -> list[str]:
    """Return what stands between the marks of docs/figures.md: every result, and what it was measured on."""
    results = {name: read(name) for name in MAKERS if (RESULTS / f"{name}.json").exists()}
    lines = ["| what | figure | command |", "|---|---|---|"]
    for name, result in results.items():
        mark = "" if is_clean(result) else " †"
        lines += [f"| {what}{mark} | {figure} | {command} |" for what, figure, command in MAKERS[name](result)]
    lines += [
        "",
        "† measured with changes that no commit holds (`+changes` below): it cannot be measured again as it was.",
    ]
    lines += ["", "Measured (benchmark, commit) on"]
    machines: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        made = read(path.stem)["machine"]
        machines.setdefault(f"{made['cores']} cores of {made['cpu']}", []).append(f"{path.stem} ({made['commit']})")
    return [*lines, *(f"* {cpu}: {', '.join(names)}" for cpu, names in machines.items())]


def five() -> list[str]:
    """Return the lines of README's five figures.

    Raises:
        SystemExit: no commit holds the code that one of them was measured with.
    """
    results = {name: read(name) for name in FIVE}
    if changed := [name for name, result in results.items() if not is_clean(result)]:
        raise SystemExit(
            f"README's figures come from commits alone: commit, then run scripts/bench {' '.join(changed)}."
        )
    return ["| what | figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in _five(results))]


def _five(results: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    peers, heads, pca, copies, scenes = results.values()
    fp32, auto = peers["rates"]["fxengine fp32"], peers["rates"]["fxengine auto"]
    times = peers["ratio_to_best_peer"]["fxengine fp32"]
    accuracy, reduced, found = heads["accuracy"]["caltech_20"], pca["last"], copies["chosen"]
    ways = scenes["ways"]["cosine"]
    return [
        (
            f"{peers['photos']} 12-megapixel photos to features, {peers['machine']['cores']} cores",
            f"{fp32['best']:.0f} images/s best, {fp32['median']:.0f} median in fp32: **{times['best']:.2f}x, "
            f"{times['median']:.2f}x** the fastest other way in fp32; {auto['best']:.0f}, {auto['median']:.0f} in "
            f"{peers['auto']['precision']}",
        ),
        (
            "accuracy of a probe, 600 photos of 20 kinds",
            f"**{accuracy['logistic']}**; plain scikit-learn {accuracy['scikit-learn LogisticRegression']}",
        ),
        (
            f"PCA to {pca['dim']} of {pca['rows']:,} x 1280",
            f"{reduced['fxengine']['seconds']:.0f} s, peak {reduced['fxengine']['peak_mb']} MB: "
            f"**{pca['ratio']['median']}x** scikit-learn's IncrementalPCA",
        ),
        (
            f"planted copies among {copies['rows']:,} photos",
            f"**{found['recall']:.1%} found at a precision of {found['precision']:.1%}**; plain cosine "
            f"{copies['plain_cosine']['recall']:.1%} at {copies['plain_cosine']['precision']:.1%}",
        ),
        (
            f"other photos of a scene, {scenes['queries']} queries",
            f"mean average precision **{ways['mean_average_precision']:.3f}** ± {ways['plus_minus']:.3f}",
        ),
    ]


def between(text: str, lines: list[str]) -> str:
    """Return a page with these lines between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return "\n".join([f"{head}{BEGIN}", *lines, f"{END}{tail}"])


def main() -> None:
    """Rewrite both pages, or with --check say whether they are current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    pages = {path: between(path.read_text(), make()) for path, make in ((FIGURES, figures), (README, five))}
    if parser.parse_args().check:
        stale = [_name(path) for path, wanted in pages.items() if path.read_text() != wanted]
        raise SystemExit(f"{' and '.join(stale)}: not what bench/report.py makes. Run it." if stale else 0)
    for path, wanted in pages.items():
        path.write_text(wanted)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
