from __future__ import annotations

import numpy as np
import onnxruntime as ort
from scipy.special import expit

from fxengine.heads.graph import INPUT, HeadGraph


def test_a_sigmoid_is_exact_where_it_is_small() -> None:
    graph = HeadGraph(1)
    session = ort.InferenceSession(graph.model(graph.sigmoid(INPUT), "probabilities", 1).SerializeToString())
    x = np.linspace(-80, 200, 5601, dtype=np.float32)[:, None]
    (found,) = session.run(None, {INPUT: x})
    np.testing.assert_allclose(found, expit(x.astype(np.float64)), rtol=2e-6)
    (far,) = session.run(None, {INPUT: np.array([[-1e30], [1e30]], np.float32)})
    np.testing.assert_array_equal(far, [[0], [1]])
