"""Heads: vectors and labels in, a small model out, as one ONNX file over feature vectors.

A head is a scikit-learn pipeline: rows scaled to length 1, where asked for a PCA, then the model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fxengine.errors import InputError, one_of
from fxengine.heads.estimator import Estimator, HeadModule, HeadPipeline, HeadSettings, Kind, output_name

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = [
    "HEADS",
    "NEEDS_TWO",
    "WEIGHTED",
    "Estimator",
    "HeadModule",
    "HeadPipeline",
    "HeadSettings",
    "Kind",
    "answers_of",
    "head_model",
    "heads_for",
    "load_head",
    "make_head",
]

# From the simplest to the most flexible. To add a head: write heads/<file>.py as a `HeadModule`, and name it here.
HEADS = {
    "ridge": "fxengine.heads.ridge",
    "lda": "fxengine.heads.lda",
    "logistic": "fxengine.heads.logistic",
    "svm": "fxengine.heads.svm",
    "knn": "fxengine.heads.knn",
    "mlp": "fxengine.heads.mlp",
}

# That can let every class, or of every label both answers, count as much.
WEIGHTED: dict[Kind, tuple[str, ...]] = {
    "classes": ("ridge", "logistic", "svm", "mlp"), "labels": ("logistic",), "numbers": (),
}  # fmt: skip
# That cannot be fitted to one row of each class, within which nothing varies.
NEEDS_TWO = ("lda",)


def load_head(name: str, kind: Kind = "classes") -> HeadModule[Any]:
    """Return the module of a head.

    Raises:
        InputError: there is no such head, or it cannot predict this kind; lists those that can.
    """
    one_of("head", name, HEADS)
    module: HeadModule[Any] = import_module(HEADS[name])
    if kind not in module.KINDS:
        raise InputError(f"The head {name!r} cannot predict {kind}. These can: {', '.join(heads_for(kind))}.")
    return module


def heads_for(kind: Kind) -> list[str]:
    """Return the heads that can predict a kind of target, the simplest first."""
    return [name for name in HEADS if kind in import_module(HEADS[name]).KINDS]


def make_head(
    name: str, kind: Kind = "classes", settings: HeadSettings | None = None, *, rows: int = 1 << 30
) -> HeadPipeline:
    """Return an unfitted pipeline of raw vectors to answers.

    Args:
        name: a key of `HEADS`.
        kind: what is predicted.
        settings: how to fit it.
        rows: how many it will be fitted to, at least.

    Raises:
        InputError: see `load_head`; `hidden` is not one to three sizes of `mlp`.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    module, wanted = load_head(name, kind), settings or HeadSettings()
    if wanted.hidden and (name != "mlp" or len(wanted.hidden) > 3 or min(wanted.hidden) < 1):
        raise InputError(
            f"`hidden` gives the `head` mlp the units of its one to three dense layers, as 256,128. Got "
            f"{','.join(map(str, wanted.hidden))} for {name}."
        )
    reduction = [PCA(wanted.pca, random_state=wanted.seed)] if wanted.pca else []
    made: HeadPipeline = make_pipeline(Normalizer(), *reduction, module.make(kind, wanted, rows))
    return made


def head_model(
    name: str, pipeline: HeadPipeline, dim: int, kind: Kind, outputs: int, scale: float = 1.0
) -> onnx.ModelProto:
    """Return a fitted pipeline as an ONNX model; its output is `values` for numbers, else `probabilities`.

    Args:
        name: a key of `HEADS`.
        pipeline: fitted, from `make_head`.
        dim: numbers of a feature vector.
        kind: what it predicts.
        outputs: how many classes, labels or targets.
        scale: of the probabilities' logarithms; 1 leaves them as they are. See `calibration.sharpen`.
    """
    from fxengine.heads.evaluate.calibration import TINY
    from fxengine.heads.graph import INPUT, HeadGraph

    graph = HeadGraph(dim)
    x = graph.unit(INPUT)
    *before, model = [step for _, step in pipeline.steps[1:]]
    for reduction in before:
        x = graph.dense(x, reduction.components_, -reduction.components_ @ reduction.mean_)
    x = load_head(name, kind).nodes(model, graph, x)
    if scale != 1.0:
        logs = graph.node("Log", graph.node("Max", x, graph.constant(TINY)))
        x = graph.softmax(graph.node("Mul", logs, graph.constant(scale)))
    return graph.model(x, output_name(kind), outputs)


def answers_of(pipeline: Estimator, vectors: np.ndarray, kind: Kind) -> np.ndarray:
    """Return what a fitted pipeline says of vectors: probabilities [n, classes or labels], or numbers [n, targets]."""
    if kind != "numbers":
        return pipeline.predict_proba(vectors)
    found = pipeline.predict(vectors)
    return found.reshape(len(found), -1)
