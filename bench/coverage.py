"""How often a probe's 95% interval holds what it is about: the accuracy of the head that it writes, on fresh rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.judges import Random, write_store
from fxengine.heads import HeadSettings, make_head
from fxengine.heads.estimator import Estimator
from fxengine.heads.evaluate.learning_curve import extrapolate, learning_curve
from fxengine.heads.evaluate.scores import Problem, assign_folds
from fxengine.heads.file import Head
from fxengine.probing.probe import Probe, ProbeOptions

_FRESH = 6000
BEYOND = (1, 2, 4)  # times the rows


def draw_world(rng: Random) -> tuple[int, Callable[[int], tuple[np.ndarray, np.ndarray]]]:
    """Return the classes of a made-up world, and what draws rows float32 [n, dim] and class numbers [n] of it.

    Classes are clouds about random centres, not as frequent as each other; variances fall as 1 / rank, as of features.
    """
    classes, dim = int(rng.choice([2, 5, 10])), int(rng.choice([32, 128]))
    apart = {2: 0.35, 5: 0.5, 10: 0.6}[classes] * rng.uniform(0.6, 1.6)
    centres, scale = rng.normal(0, apart, (classes, dim)), 3 * np.arange(1, dim + 1) ** -0.5
    turned, shares = np.linalg.qr(rng.normal(0, 1, (dim, dim)))[0], rng.dirichlet(np.full(classes, 20.0))

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        while True:
            y = rng.choice(classes, n, p=shares)
            if np.bincount(y, minlength=classes).min() >= 2:
                break
        return np.asarray(((centres[y] + rng.normal(0, 1, (n, dim))) * scale) @ turned + 0.3, np.float32), y

    return classes, draw


def held(head: str, rows: int, rng: Random, folder: Path) -> tuple[bool, float]:
    """Probe so many rows; return whether the interval held the written head's accuracy, and by how much it is off."""
    classes, draw = draw_world(rng)
    x, y = draw(rows)
    names = [f"c{i}" for i in range(classes)]
    store = write_store(folder / "s", x, labels=[names[i] for i in y])
    options = ProbeOptions(near=2, budget=1e9)
    made = Probe.fit(store, head=head, options=options)
    made.save(folder / "h.onnx")
    fresh, truth = draw(_FRESH)
    written = Head.load(folder / "h.onnx")
    told = [names.index(name) for name in written.facts.classes]
    accuracy = float((np.array(told)[written.answers(fresh).argmax(axis=1)] == truth).mean())
    return made.score.low <= accuracy <= made.score.high, made.score.mean - accuracy


def curve_held(head: str, rows: int, rng: Random) -> list[tuple[bool, float]]:
    """Return the same of a learning curve of so many rows, for once, twice and four times as many."""
    classes, draw = draw_world(rng)
    x, y = draw(rows)
    problem = Problem("classes", tuple(f"c{i}" for i in range(classes)), y, np.arange(rows))

    def make(n: int) -> Estimator:
        return make_head(head, "classes", HeadSettings(), rows=n)

    curve = learning_curve(make, x, problem, assign_folds(problem, 5, 0))
    fresh, truth = draw(_FRESH)
    found = []
    for times in BEYOND:
        more = (x, y) if times == 1 else draw(times * rows)
        accuracy = float((make(len(more[1])).fit(*more).predict(fresh) == truth).mean())
        told = extrapolate(curve, times * rows)
        found.append((told.low <= accuracy <= told.high, told.mean - accuracy))
    return found
