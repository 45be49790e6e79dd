"""The one clock that times a net: rows a second of the model alone, every stream at work."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from fxengine.backbones.spec import FEATURE_OUTPUT
from fxengine.decode import Preparer
from fxengine.execute.session import Session
from fxengine.pipeline.threads import run_on_streams


def rows_in(inputs: Mapping[str, np.ndarray]) -> int:
    """Return how many rows inputs, name -> array [n, ...], have."""
    return len(next(iter(inputs.values())))


def rows_per_second(session: Session, inputs: Mapping[str, np.ndarray], seconds: float = 0.0) -> float:
    """Return how many rows a second a loaded backbone takes.

    Args:
        session: the backbone, warm: a first run also allocates.
        inputs: name -> array [n, ...], run over and over again.
        seconds: for so long, but at least once.
    """
    begin, done = time.perf_counter(), 0
    while True:
        run_on_streams(session, inputs, FEATURE_OUTPUT)
        done += rows_in(inputs)
        spent = time.perf_counter() - begin
        if spent >= seconds:
            return done / spent


def warm_rows_per_second(session: Session, preparer: Preparer, seconds: float = 0.0) -> float:
    """Return how many rows of usual size a second a loaded backbone takes, after one run that is not timed."""
    inputs = preparer.example(session.batch_size * session.streams)
    run_on_streams(session, inputs, FEATURE_OUTPUT)
    return rows_per_second(session, inputs, seconds)
