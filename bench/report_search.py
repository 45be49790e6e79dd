"""The rows of docs/figures.md that bench/search.py, bench/duplicates.py and bench/retrieval.py give."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, str]


def _exact(found: dict[str, Any]) -> list[Row]:
    share = found["result"]["share"]
    figure = f"**{share['best']:.0%} best, {share['median']:.0%} median** of the matrix product alone"
    return [("exact search, 2,000 queries over 50,000 x 1280 in float16", figure, _command("exact"))]


def _targets(found: dict[str, Any]) -> list[Row]:
    result, told = found["result"], []
    for target in sorted(name for name in result if "held" not in name):
        judged, trial = result[target]["judged"], result[target]["trials"][0]
        told.append(
            f"asked {float(target):.2f}: {judged['recall']:.3f} ({judged['low']:.3f} to {judged['high']:.3f}), "
            f"{trial['queries_per_second']:.0f} queries/s"
        )
    first = next(iter(result.values()))
    what = f"recall@10 on photos that it was not tuned on, {first['rows']:,} crops, {first['trials'][0]['factory']}"
    return [(what, "; ".join(told), _command("targets"))]


def _peers(found: dict[str, Any]) -> list[Row]:
    told = [
        f"{'**' if name == 'fxengine' else ''}{name} {row['queries_per_second']['best']:.0f} best, "
        f"{row['queries_per_second']['median']:.0f} median{'**' if name == 'fxengine' else ''} (at {row['recall']:.3f})"
        for name, row in found["result"].items()
    ]
    what = "the same crops, queries/s tuned to recall@10 of 0.95, equal threads"
    return [(what, "; ".join(told), _command("peers"))]


def _million(found: dict[str, Any]) -> list[Row]:
    result = found["result"]
    judged, trial = result["judged"], result["trials"][0]
    what = f"{result['rows']:,} x {result['dim']} made vectors, asked 0.95"
    figure = (
        f"{judged['recall']:.3f} ({judged['low']:.3f} to {judged['high']:.3f}) at {trial['queries_per_second']:.0f} "
        f"queries/s by {trial['factory']}; chosen and built in {result['seconds'] / 60:.0f} minutes"
    )
    return [(what, figure, _command("million"))]


def _duplicates(found: dict[str, Any]) -> list[Row]:
    chosen, plain = found["chosen"], found["plain_cosine"]
    figure = (
        f"**{chosen['recall']:.1%} found at a precision of {chosen['precision']:.1%}**; "
        f"plain cosine {plain['recall']:.1%} at {plain['precision']:.1%}"
    )
    return [(f"planted copies, {found['rows']:,} photos", figure, "`python -m bench.duplicates`")]


def _retrieval(found: dict[str, Any]) -> list[Row]:
    ways = {name: row["mean_average_precision"] for name, row in found["ways"].items()}
    best = max((name for name in ways if "PCA" in name), key=lambda name: ways[name])
    what = f"other photos of a scene (holidays_pairs, {found['queries']} queries), mean average precision"
    figure = (
        f"cosine {ways['cosine']:.3f} ± {found['ways']['cosine']['plus_minus']:.3f}, L2 {ways['l2']:.3f}, "
        f"inner product {ways['ip']:.3f}; {best.removeprefix('cosine, ')} {ways[best]:.3f}"
    )
    return [(what, figure, "`python -m bench.retrieval`")]


def _command(part: str) -> str:
    return f"`python -m bench.search FOLDER {part}`"


SEARCH = {
    "search_exact": _exact,
    "search_targets": _targets,
    "search_peers": _peers,
    "search_million": _million,
    "duplicates": _duplicates,
    "retrieval": _retrieval,
}  # result -> rows of (what, figure, command)
