"""What each precision costs: cosine to fp32, kept neighbours, and the accuracy of a probe on the features.

python -m bench.precision
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import photos, save
from fxengine import FeatureStore, extract
from fxengine.backbones import DEFAULT, load_backbone
from fxengine.errors import DeviceError
from fxengine.execute.fidelity import compare
from fxengine.execute.gpu import half_precision_file
from fxengine.probing.probe import probe

SETS = ("caltech_20", "cats_dogs")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def store_of(name: str, precision: str, folder: Path) -> Path:
    """Extract a set in a precision; fp16 runs on a CPU as fp32 arithmetic on the fp16 file that a GPU would get."""
    backbone = load_backbone(DEFAULT).path
    if precision == "fp16":
        backbone, precision = half_precision_file(backbone), "fp32"
    store = folder / f"{name}-{precision}-{backbone.stem[:8]}"
    extract(photos(name), store, backbone=backbone, precision=precision, device="cpu", dtype="float32")
    return store


def main() -> None:
    """Measure and print."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in SETS:
            rows: dict[str, Any] = {}
            reference = np.empty(0)
            for precision in PRECISIONS:
                try:
                    store = store_of(name, precision, Path(scratch))
                except DeviceError as error:
                    print(f"{name} {precision}: {error}")
                    continue
                found = FeatureStore.open(store).vectors()
                reference = found if precision == "fp32" else reference
                kept = compare(reference, found)
                accuracy = probe(store).score
                rows[precision] = {**vars(kept), "accuracy": vars(accuracy)}
                print(f"{name} {precision}: accuracy {accuracy}; {kept}")
            result[name] = rows
    save("precision", {"sets": result})


if __name__ == "__main__":
    main()
