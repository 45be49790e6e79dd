"""fxengine: embed pictures once, into Parquet; then probe, reduce, search and deduplicate in seconds.

backbones   a pretrained net           -> one ONNX file with its recipe
collect     folder or list             -> sorted items, and each item's bytes
decode      bytes                      -> rows of the graph's inputs
execute     rows                       -> vectors            (ONNX Runtime, OpenVINO)
features    vectors                    -> Parquet parts      (the feature store)
heads       vectors and targets        -> a linear head      (also ONNX)
neighbours  vectors                    -> neighbours         (exact, FAISS)
pipeline    runs the first five at once, resumes, and reports
probing, reduce, repair, retrieval, train   what people do with a store
ui          the command line and its pages
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxengine.errors import DecodeError, DeviceError, FxError, InputError, StoreError, StoreLocked
    from fxengine.features.read import FeatureStore
    from fxengine.features.schema import FeatureTable
    from fxengine.neighbours.index import Index, SearchResult
    from fxengine.pipeline.embed import Backbone
    from fxengine.pipeline.extract import extract
    from fxengine.pipeline.sklearn_extractor import FeatureExtractor
    from fxengine.pipeline.summary import Progress, Summary
    from fxengine.probing.probe import Probe, ProbeOptions
    from fxengine.reduce.pca import Pca

__version__ = "0.1.0"

_PUBLIC = {
    "Backbone": "fxengine.pipeline.embed",
    "DecodeError": "fxengine.errors",
    "DeviceError": "fxengine.errors",
    "FeatureExtractor": "fxengine.pipeline.sklearn_extractor",
    "FeatureStore": "fxengine.features.read",
    "FeatureTable": "fxengine.features.schema",
    "FxError": "fxengine.errors",
    "Index": "fxengine.neighbours.index",
    "InputError": "fxengine.errors",
    "Pca": "fxengine.reduce.pca",
    "Probe": "fxengine.probing.probe",
    "ProbeOptions": "fxengine.probing.probe",
    "Progress": "fxengine.pipeline.summary",
    "SearchResult": "fxengine.neighbours.index",
    "StoreError": "fxengine.errors",
    "StoreLocked": "fxengine.errors",
    "Summary": "fxengine.pipeline.summary",
    "extract": "fxengine.pipeline.extract",
}
__all__ = [
    "Backbone",
    "DecodeError",
    "DeviceError",
    "FeatureExtractor",
    "FeatureStore",
    "FeatureTable",
    "FxError",
    "Index",
    "InputError",
    "Pca",
    "Probe",
    "ProbeOptions",
    "Progress",
    "SearchResult",
    "StoreError",
    "StoreLocked",
    "Summary",
    "extract",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fxengine' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
