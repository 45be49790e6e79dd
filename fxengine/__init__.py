"""fxengine: embed pictures or texts once, into Parquet; then probe, reduce, search and deduplicate in seconds.

backbones   a pretrained net           -> one ONNX file with its recipe
collect     folder, list or table      -> sorted items, and each item's bytes
decode      bytes                      -> rows of the graph's inputs
execute     rows                       -> vectors            (ONNX Runtime, OpenVINO)
features    vectors                    -> Parquet parts      (the feature store)
heads       vectors and targets        -> a linear head      (also ONNX)
neighbours  vectors                    -> neighbours         (exact, FAISS)
pipeline    runs the first five at once, resumes, and reports
probing, reduce, repair, retrieval, train   what people do with a store
reviewing   what a person says of a store: labels, decisions, and acting on them
serving     a page over a store, for one person on this machine
ui          the command line and its pages
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxengine.backbones.export import export
    from fxengine.backbones.words.vectors import WordVectors
    from fxengine.backbones.zoo import list_backbones
    from fxengine.errors import DecodeError, DeviceError, FxError, InputError, StoreError, StoreLocked
    from fxengine.features.dump import dump
    from fxengine.features.read import FeatureStore
    from fxengine.features.schema import FeatureTable
    from fxengine.neighbours.index import Index, SearchResult
    from fxengine.neighbours.index_store import index
    from fxengine.pipeline.calibrate import calibrate
    from fxengine.pipeline.embed import Backbone
    from fxengine.pipeline.extract import extract
    from fxengine.pipeline.sklearn_extractor import FeatureExtractor
    from fxengine.pipeline.summary import Progress, Summary
    from fxengine.pipeline.words import words
    from fxengine.probing.bundle import bundle
    from fxengine.probing.compare import compare
    from fxengine.probing.mislabeled import mislabeled
    from fxengine.probing.predict import predict
    from fxengine.probing.probe import Probe, ProbeOptions, probe
    from fxengine.probing.zeroshot import zeroshot
    from fxengine.reduce.fit import pca
    from fxengine.reduce.pca import Pca
    from fxengine.repair.doctor import doctor
    from fxengine.repair.verify import verify
    from fxengine.retrieval.cluster import cluster
    from fxengine.retrieval.duplicates import duplicates
    from fxengine.retrieval.map import map
    from fxengine.retrieval.search import search
    from fxengine.reviewing.apply import apply
    from fxengine.serving.serve import serve
    from fxengine.train.advise import advise
    from fxengine.train.finetune import finetune
    from fxengine.train.fit import fit
    from fxengine.ui.info import info
    from fxengine.ui.pages import write_page

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
    "WordVectors": "fxengine.backbones.words.vectors",
    "advise": "fxengine.train.advise",
    "apply": "fxengine.reviewing.apply",
    "bundle": "fxengine.probing.bundle",
    "calibrate": "fxengine.pipeline.calibrate",
    "cluster": "fxengine.retrieval.cluster",
    "compare": "fxengine.probing.compare",
    "doctor": "fxengine.repair.doctor",
    "dump": "fxengine.features.dump",
    "duplicates": "fxengine.retrieval.duplicates",
    "export": "fxengine.backbones.export",
    "extract": "fxengine.pipeline.extract",
    "finetune": "fxengine.train.finetune",
    "fit": "fxengine.train.fit",
    "index": "fxengine.neighbours.index_store",
    "info": "fxengine.ui.info",
    "list_backbones": "fxengine.backbones.zoo",
    "map": "fxengine.retrieval.map",
    "mislabeled": "fxengine.probing.mislabeled",
    "pca": "fxengine.reduce.fit",
    "predict": "fxengine.probing.predict",
    "probe": "fxengine.probing.probe",
    "search": "fxengine.retrieval.search",
    "serve": "fxengine.serving.serve",
    "verify": "fxengine.repair.verify",
    "words": "fxengine.pipeline.words",
    "write_page": "fxengine.ui.pages",
    "zeroshot": "fxengine.probing.zeroshot",
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
    "WordVectors",
    "advise",
    "apply",
    "bundle",
    "calibrate",
    "cluster",
    "compare",
    "doctor",
    "dump",
    "duplicates",
    "export",
    "extract",
    "finetune",
    "fit",
    "index",
    "info",
    "list_backbones",
    "map",
    "mislabeled",
    "pca",
    "predict",
    "probe",
    "search",
    "serve",
    "verify",
    "words",
    "write_page",
    "zeroshot",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fxengine' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
