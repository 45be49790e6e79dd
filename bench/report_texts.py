"""The rows of docs/figures.md that bench/texts.py gives."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, str]


def _speed(found: dict[str, Any]) -> list[Row]:
    return [_of_kind(kind, part, found["auto"]) for kind, part in found["kinds"].items()]


def _of_kind(kind: str, part: dict[str, Any], auto: dict[str, Any]) -> Row:
    length = part["tokens"] / part["texts"]
    rates = "; ".join(
        f"{name} {row['best']:.1f}, {row['median']:.1f} ({row['best'] * length:,.0f}, {row['median'] * length:,.0f})"
        for name, row in part["rates"].items()
        if not name.endswith("again")
    )
    times = "; ".join(
        f"{name} {_pair(rows['fp32'])}, auto {_pair(rows['auto'])}" for name, rows in part["of_peer"].items()
    )
    share, itself, agree = part["share_of_limit"], part["itself"], part["agreement"]
    alike = "; ".join(f"{name} {row['mean']:.5f} (worst {row['worst']:.5f})" for name, row in agree.items())
    figure = (
        f"{rates}. fxengine in fp32 over {times}; over its own second run {itself['best']:.2f}x, "
        f"{itself['median']:.2f}x. **{share['fp32']['best']:.0%}, {share['fp32']['median']:.0%} of the limit** "
        f"1/(1/T + 1/M), auto ({auto['runtime']} in {auto['precision']}) {share['auto']['best']:.0%}, "
        f"{share['auto']['median']:.0%}. Cosine to fxengine in fp32: {alike}"
    )
    what = f"{kind} texts to vectors, {part['texts']:,} of {length:.0f} tokens, texts/s (tokens/s), best, median"
    return what, figure, _command("speed")


def _pair(row: dict[str, float]) -> str:
    return f"**{row['best']:.2f}x, {row['median']:.2f}x**"


def _weights(found: dict[str, Any]) -> list[Row]:
    figure = (
        f"cosine {found['mean_cosine']:.5f} in the mean, worst {found['worst_cosine']:.5f}; of ten neighbours "
        f"**{found['same_neighbours']:.1%}** are the same, {found['kept_neighbours']:.1%} the same or within 0.005 of "
        "the tenth"
    )
    what = f"minilm_l6, weights of 8 bits, against the published ones in fp32, {found['texts']} review sentences"
    return [(what, figure, _command("weights"))]


def _memory(found: dict[str, Any]) -> list[Row]:
    figure = ", ".join(f"{row['peak_bytes'] / 1e6:.0f} MB at {int(rows):,} rows" for rows, row in found["rows"].items())
    return [("peak memory of an extraction of texts", figure, _command("memory"))]


def _sentiment(found: dict[str, Any]) -> list[Row]:
    ways = "; ".join(
        f"{'**' if name == found['wins'] else ''}{name} {row['mean']:.1%}{'**' if name == found['wins'] else ''} "
        f"({row['low']:.1%} to {row['high']:.1%}), {row['seconds']:.1f} s"
        for name, row in found["ways"].items()
    )
    figure = f"{ways}. The vectors took {found['extract_seconds']:.0f} s; best in the mean: {found['wins']}"
    return [(f"sentiment of {found['rows']:,} review sentences, accuracy", figure, _command("sentiment"))]


def _command(part: str) -> str:
    return f"`python -m bench.texts {part}`"


TEXTS = {
    "texts": _speed,
    "texts_weights": _weights,
    "texts_memory": _memory,
    "texts_sentiment": _sentiment,
}  # result -> rows of (what, figure, command)
