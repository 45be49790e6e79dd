"""Execution: a uint8 batch in, float32 vectors out. Passive: no Python thread is started here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fxengine.execute.cpus import usable_cores

if TYPE_CHECKING:
    from fxengine.execute.onnx_runtime import Session

__all__ = ["open_session", "usable_cores"]


def open_session(path: Path, device: str = "auto", batch_size: int = 8, threads: int | None = None) -> Session:
    """Load a backbone file; see `onnx_runtime.open_session`. `threads` is every usable core unless given."""
    from fxengine.execute import onnx_runtime

    return onnx_runtime.open_session(path, device, batch_size, threads or usable_cores())
