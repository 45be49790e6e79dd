"""Whether a backbone of texts gives what the net itself gives: rows of tokens to try, and the net's own vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from fxengine.backbones.graph.pooling import Dense
from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.graph.text_net import Feed, fed_by_hand
from fxengine.backbones.report import differences
from fxengine.backbones.spec import FEATURE_OUTPUT, LENGTHS_INPUT, TOKENS_INPUT
from fxengine.errors import InputError, first_line

_LENGTHS = (5, 16, 9, 12)
# How far the backbone may be from the net, in parts of the largest value.
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 2e-2
_ROUNDING = 1e-6  # of vectors, in parts of their largest number
_ACTIVE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def sample_rows(begin: Sequence[int], end: Sequence[int], count: int, most: int) -> list[np.ndarray]:
    """Return rows of token ids, int32, of several lengths up to `most`.

    Args:
        begin: ids at the beginning of each.
        end: ids at the end of each.
        count: how many ids there are.
        most: the longest that is taken.
    """
    rng = np.random.default_rng(0)
    rows = []
    for length in _LENGTHS:
        inner = max(1, min(length, most) - len(begin) - len(end))
        row = [*begin, *rng.integers(0, count, inner), *end]
        rows.append(np.asarray(row[:most], np.int32))
    return rows


def reference(
    model: onnx.ModelProto, feed: Feed, batch: int, rows: Sequence[np.ndarray], name: str
) -> dict[str, list[np.ndarray]]:
    """Return tensor -> what the net itself gives for each row, each fed alone, as often as a fixed batch wants it.

    Raises:
        InputError: ONNX Runtime cannot run it, or its first dimension is not the texts.
    """
    names = [value.name for value in model.graph.output]
    made: dict[str, list[np.ndarray]] = {each: [] for each in names}
    try:
        session = open_plain(model)
        for row in rows:
            for each, value in zip(names, session.run(names, fed_by_hand(feed, [row] * batch)), strict=True):
                made[each].append(np.asarray(value))
    except Exception as error:  # ONNX Runtime has a class for each kind of failure, of no common parent
        raise InputError(f"ONNX Runtime cannot run {name}: {first_line(error)}") from error
    for each, values in made.items():
        if any(value.ndim not in (2, 3) or len(value) != batch for value in values):
            raise InputError(
                f"The tensor {each!r} of {name} is {list(values[0].shape)} for {batch} text{'s'[: batch - 1]}: 2 "
                "dimensions are a vector a text, 3 one a token. Choose another one, as `layers`."
            )
    return {each: [value[0].astype(np.float64) for value in values] for each, values in made.items()}


def vectors(
    values: Sequence[np.ndarray], rows: Sequence[np.ndarray], how: Sequence[str], dense: Sequence[Dense]
) -> np.ndarray:
    """Return the vector of each row from what the net gives for it: itself, or that of its tokens; then the layers."""
    pooled = []
    for value, row in zip(values, rows, strict=True):
        if value.ndim == 2:
            value = np.concatenate([_pooled(value[: len(row)], each) for each in how])
        pooled.append(value)
    made = np.stack(pooled)
    for layer in dense:
        made = made @ layer.weights.T.astype(np.float64) + (0 if layer.bias is None else layer.bias)
        made = _ACTIVE[layer.activation](made)
    return made


def _pooled(tokens: np.ndarray, how: str) -> np.ndarray:
    count = len(tokens)
    weights = np.arange(1, count + 1)[:, None]
    return np.asarray(
        {
            "cls": lambda: tokens[0],
            "max": lambda: tokens.max(axis=0),
            "avg": lambda: tokens.mean(axis=0),
            "sqrt": lambda: tokens.sum(axis=0) / np.sqrt(count),
            "weighted": lambda: (tokens * weights).sum(axis=0) / weights.sum(),
            "last": lambda: tokens[-1],
        }[how]()
    )


def difference(model: onnx.ModelProto, rows: Sequence[np.ndarray], wanted: Mapping[str, Sequence[np.ndarray]]) -> str:
    """Return what is wrong where each row goes in alone, and where all do at once; empty where nothing is.

    Args:
        model: the backbone.
        rows: of token ids.
        wanted: output -> what each row should give: a vector, or one for each of its tokens.
    """
    half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer if len(tensor.dims) > 1)
    tolerance = _HALF_TOLERANCE if half else _TOLERANCE
    try:
        onnx.checker.check_model(model)
        session = open_plain(model)
        for chosen in (*([i] for i in range(len(rows))), range(len(rows))):
            inputs = _inputs([rows[i] for i in chosen])
            for name, value in zip(wanted, session.run(list(wanted), inputs), strict=True):
                right = [wanted[name][i] for i in chosen]
                if (len(value), value.ndim, value.shape[-1]) != (len(right), right[0].ndim + 1, right[0].shape[-1]):
                    return f"with {len(chosen)} texts {name!r} is {list(value.shape)}"
                there = np.concatenate([made[: len(each)] for made, each in zip(value, right, strict=True)])
                wants = np.concatenate(right)
                if not np.allclose(there, wants, rtol=0, atol=tolerance * np.abs(wants).max(initial=1e-6)):
                    return f"with {len(chosen)} text{'s' if len(chosen) > 1 else ''} the values of {name!r} are others"
    except Exception as error:  # as in `reference`
        return first_line(error)
    return ""


def padded_difference(model: onnx.ModelProto, rows: Sequence[np.ndarray]) -> float:
    """Return how far a row's features are from its own alone where all go in at once, ||a-b||/||b||, the worst row.

    Args:
        model: the backbone.
        rows: of token ids, of several lengths.
    """
    session = open_plain(model)
    (made,) = session.run([FEATURE_OUTPUT], _inputs(rows))
    alone = np.concatenate([session.run([FEATURE_OUTPUT], _inputs([row]))[0] for row in rows])
    return differences(made, alone)["relative"]


def check_telling(found: np.ndarray, name: str) -> None:
    """Raise InputError where vectors of different texts are not finite, or all alike."""
    if not np.isfinite(found).all():
        raise InputError(
            f"The features of {name} are not finite (NaN or infinite) on every text. Choose another tensor."
        )
    if np.ptp(found, axis=0).max() <= _ROUNDING * np.abs(found).max():
        raise InputError(f"The features of {name} are constant, the same for every text. Choose another tensor.")


def _inputs(rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    tokens = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return {TOKENS_INPUT: tokens, LENGTHS_INPUT: np.array([len(row) for row in rows], np.int32)}
