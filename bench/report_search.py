"""The rows of README's table that bench/search.py, bench/duplicates.py and bench/retrieval.py give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Row = tuple[str, str, str]


def search_figures(read: Callable[[str], dict[str, Any]]) -> list[Row]:
    """Return (what, figure, command) of every result that is there; `read` gives an empty dictionary for the others."""
    rows: list[Row] = []
    for part, of in (("exact", _exact), ("targets", _targets), ("peers", _peers), ("million", _million)):
        if found := read(f"search_{part}"):
            rows.append((*of(found["result"]), f"`python -m bench.search FOLDER {part}`"))
    duplicates, retrieval = read("duplicates"), read("retrieval")
    if duplicates:
        chosen = duplicates["chosen"]
        rows.append(
            (
                f"planted copies of caltech_20, {duplicates['rows']:,} photos",
                f"**{chosen['recall']:.1%} found at a precision of {chosen['precision']:.1%}** (threshold chosen by "
                f"itself); plain cosine {duplicates['plain_cosine']['recall']:.1%} at "
                f"{duplicates['plain_cosine']['precision']:.1%}",
                "`python -m bench.duplicates`",
            )
        )
    if retrieval:
        ways = {name: row["mean_average_precision"] for name, row in retrieval["ways"].items()}
        best = max((name for name in ways if "PCA" in name), key=lambda name: ways[name])
        rows.append(
            (
                f"other photos of a scene (holidays_pairs, {retrieval['queries']} queries), mean average precision",
                f"cosine {ways['cosine']:.3f} ± {retrieval['ways']['cosine']['plus_minus']:.3f}, L2 {ways['l2']:.3f}, "
                f"inner product {ways['ip']:.3f}; {best.removeprefix('cosine, ')} {ways[best]:.3f}",
                "`python -m bench.retrieval`",
            )
        )
    return rows


def _exact(result: dict[str, Any]) -> tuple[str, str]:
    share = result["share"]
    figure = f"**{share['best']:.0%} best, {share['median']:.0%} median** of the matrix product alone"
    return "exact search, 2,000 queries over 50,000 x 1280 in float16", figure


def _targets(result: dict[str, Any]) -> tuple[str, str]:
    told = []
    for target in sorted(name for name in result if "held" not in name):
        judged, trial = result[target]["judged"], result[target]["trials"][0]
        told.append(
            f"asked {float(target):.2f}: {judged['recall']:.3f} ({judged['low']:.3f} to {judged['high']:.3f}), "
            f"{trial['queries_per_second']:.0f} queries/s"
        )
    first = next(iter(result.values()))
    what = f"recall@10 on photos that it was not tuned on, {first['rows']:,} crops, {first['trials'][0]['factory']}"
    return what, "; ".join(told)


def _peers(result: dict[str, Any]) -> tuple[str, str]:
    told = [
        f"{'**' if name == 'fxengine' else ''}{name} {row['queries_per_second']['best']:.0f} best, "
        f"{row['queries_per_second']['median']:.0f} median{'**' if name == 'fxengine' else ''} (at {row['recall']:.3f})"
        for name, row in result.items()
    ]
    return "the same crops, queries/s tuned to recall@10 of 0.95, equal threads", "; ".join(told)


def _million(result: dict[str, Any]) -> tuple[str, str]:
    judged, trial = result["judged"], result["trials"][0]
    return (
        f"{result['rows']:,} x {result['dim']} made vectors, asked 0.95",
        f"{judged['recall']:.3f} ({judged['low']:.3f} to {judged['high']:.3f}) at {trial['queries_per_second']:.0f} "
        f"queries/s by {trial['factory']}; chosen and built in {result['seconds'] / 60:.0f} minutes",
    )
