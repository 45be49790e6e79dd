"""The rows of docs/figures.md that bench/words.py gives."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, str]
_GENSIM = "gensim"


def _read(found: dict[str, Any]) -> list[Row]:
    readings = "; ".join(
        f"{name} {_seconds(row['seconds'])} s (of processor time {_seconds(row['cpu_seconds'])}), peak "
        f"{row['peak_bytes']['most'] / 1e6:.0f} MB"
        for name, row in found["readings"].items()
    )
    times = found["of_gensim"]
    figure = (
        f"{readings}. The first reading is **{times['best']:.1f}x, {times['median']:.1f}x** as fast as "
        f"{_GENSIM} {found['versions'][_GENSIM][_GENSIM]}; {found['looked_up']:,} words differ by "
        f"{found['worst_difference']:.1g} at most"
    )
    count = max(found["words"].values())
    return [(f"reading {found['file']}, {count:,} words, s, best, median", figure, _command("read"))]


def _seconds(row: dict[str, float]) -> str:
    return f"{row['best']:.2f}, {row['median']:.2f}"


def _speed(found: dict[str, Any]) -> list[Row]:
    command = _command("speed")
    what = f"short texts to vectors by glove.6B.50d, {found['texts']:,}, texts/s, best, median"
    models = [
        (
            f"the same texts by a model of model2vec, {kind} as tokens, {model['dim']} numbers each",
            _model(model),
            command,
        )
        for kind, model in found["models"].items()
    ]
    return [(what, _rates(found["rates"]), command), *models]


def _rates(rates: dict[str, dict[str, float]]) -> str:
    return "; ".join(f"{name} {row['best']:,.0f}, {row['median']:,.0f}" for name, row in rates.items())


def _model(found: dict[str, Any]) -> str:
    times = "; ".join(
        f"{name} **{row['best']:.2f}x, {row['median']:.2f}x**" for name, row in found["of_model2vec"].items()
    )
    return (
        f"{_rates(found['rates'])}. Of the faster way of model2vec {found['versions']['model2vec']}, which keeps its "
        f"vectors in memory: {times}; vectors differ by {max(found['apart'].values()):.1g} at most (||a-b||/||b||)"
    )


def _sentiment(found: dict[str, Any]) -> list[Row]:
    ways = "; ".join(
        f"{'**' if name == found['wins'] else ''}{name} {row['mean']:.1%}{'**' if name == found['wins'] else ''} "
        f"({row['low']:.1%} to {row['high']:.1%}; splits {row['lowest']:.1%} to {row['highest']:.1%}), "
        f"{row['seconds']['median']:.1f} s"
        for name, row in found["ways"].items()
    )
    over = ", ".join(f"{name} {points * 100:+.1f} points" for name, points in found["of_guide"].items())
    tested = next(iter(found["ways"].values()))["test_rows"]
    figure = (
        f"{ways}. Over plain Keras on the same rows: {over}. Intervals: Wilson's, 95%, over all {tested:,} test rows, "
        "none of them in two splits; seconds: median of the splits, from the table to the score"
    )
    what = (
        f"sentiment of {found['rows']:,} review sentences, {len(found['sides'])} splits of 60, 20, 20%, test accuracy"
    )
    return [(what, figure, _command("sentiment"))]


def _command(part: str) -> str:
    return f"`python -m bench.words {part}`"


WORDS = {
    "words_read": _read,
    "words_speed": _speed,
    "words_sentiment": _sentiment,
}  # result -> rows of (what, figure, command)
