"""The head that no row trains: what the text tower of a pair says of the names of classes.

open_clip's recipe: each text at length 1, the mean of a class's texts, that at length 1 again; a picture's answer is
the cosine to it, scaled.
"""

from __future__ import annotations

import numpy as np
import onnx

from fxengine.backbones.pair import Activation
from fxengine.features.unit import unit_length
from fxengine.heads.estimator import output_name
from fxengine.heads.graph import INPUT, HeadGraph

KIND = "zero-shot"  # in the facts of a head's file, where others have a key of `HEADS`


def class_vector(texts: np.ndarray) -> np.ndarray:
    """Return the vector of a class at length 1, float64 [dim].

    Args:
        texts: raw vectors of its texts, one for each template, [templates, dim].
    """
    mean = unit_length(np.asarray(texts, np.float64)).mean(axis=0, keepdims=True)
    made: np.ndarray = unit_length(mean)[0]
    return made


def zero_shot_model(vectors: np.ndarray, scale: float, bias: float, activation: Activation) -> onnx.ModelProto:
    """Return the head, from raw features of pictures to a probability for every class.

    Args:
        vectors: of the classes, [classes, dim], at length 1.
        scale: what a cosine is multiplied by.
        bias: what is added to that.
        activation: "softmax" over the classes, or "sigmoid" of each by itself.
    """
    classes, dim = vectors.shape
    graph = HeadGraph(dim)
    logits = graph.dense(graph.unit(INPUT), vectors * scale, np.full(classes, bias))
    answers = graph.softmax(logits) if activation == "softmax" else graph.sigmoid(logits)
    return graph.model(answers, output_name("classes"), classes)
