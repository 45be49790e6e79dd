"""Numbers to predict, freed of their mean and spread for the training, and brought back for the head.

A rate that suits classes would take long to reach prices in thousands, and a head in thousands breaks the net.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fxengine.heads.evaluate.scores import Problem


@dataclass(frozen=True)
class Scale:
    """Mean and spread of each target over the rows to train on, float64 [outputs]; 0 and 1 of classes and labels."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, problem: Problem, train: np.ndarray) -> Scale:
        """Return that of some rows, int64 [rows]; the spread of a target that does not vary counts as 1."""
        if problem.kind != "numbers":
            return cls(np.zeros(len(problem.names)), np.ones(len(problem.names)))
        learned = problem.y[train]
        spread = learned.std(axis=0)
        return cls(learned.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def learned(self, targets: np.ndarray) -> np.ndarray:
        """Return targets [n, outputs] as the net learns them, float32."""
        return np.asarray((targets - self.mean) / self.spread, np.float32)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Return what the net says, [n, outputs], in the targets' own units, float32."""
        return np.asarray(logits * self.spread + self.mean, np.float32)

    def to_learn(self, weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a head, [outputs, dim] and [outputs], that gives as learned what the given one gives."""
        scaled = (weights / self.spread[:, None]), (bias - self.mean) / self.spread
        return scaled[0].astype(np.float32), scaled[1].astype(np.float32)

    def to_answer(self, weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a head, [outputs, dim] and [outputs], whose answers are in the targets' own units."""
        scaled = (weights * self.spread[:, None]), bias * self.spread + self.mean
        return scaled[0].astype(np.float32), scaled[1].astype(np.float32)
