"""timm as a source of backbones: `timm:NAME[.TAG]`, or a folder as timm writes it."""

from __future__ import annotations

import onnx

from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import torch_pictures

_KIND = "timm"


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone; raises as `torch_pictures.export`."""
    return torch_pictures.export(_KIND, what, options)


def pinned(what: str, options: ExportOptions) -> str:
    """Return `what`: with the library's version, which is part of the identity, it names nothing that moves."""
    return what


def identity(what: str, options: ExportOptions) -> str:
    """Return what an export depends on beside the options: versions, and the content of files."""
    return torch_pictures.identity(_KIND, what, options)
