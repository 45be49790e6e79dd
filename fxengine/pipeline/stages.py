"""What the stages of a run spend their time on, and which of them bound it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Stage:
    """What one stage's threads spent their time on, in seconds added up over the threads.

    Attributes:
        threads: how many.
        busy: working.
        starved: waiting for something to work on.
        blocked: waiting to hand on what was done.
    """

    threads: int
    busy: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0


def bottleneck(stages: dict[str, Stage], seconds: float) -> str:
    """Return the stage that bound the run: the last one that was hardly ever waiting for work.

    A stage that seldom starves keeps the ones before it waiting; the stages after it starve.
    """
    for name in reversed(stages):
        stage = stages[name]
        if stage.starved < 0.15 * stage.threads * seconds:
            return name
    return max(stages, key=lambda name: stages[name].busy / stages[name].threads)
