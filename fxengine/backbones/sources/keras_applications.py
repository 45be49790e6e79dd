"""What is known of the Keras Applications without loading Keras: keras_applications.csv and the four pixel modes.

`parameters` and `multiply_adds` are those of the headless net as it is exported, the latter for one picture of the
default size; `python -m bench.export --tables` writes them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fxengine.backbones.graph.prologue import Pixels

Mode = Literal["caffe", "tf", "torch", "none"]
FACTS = Path(__file__).with_name("keras_applications.csv")


MODES: dict[Mode, Pixels] = {
    "caffe": Pixels((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), bgr=True),
    "tf": Pixels((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": Pixels((255 * 0.485, 255 * 0.456, 255 * 0.406), (255 * 0.229, 255 * 0.224, 255 * 0.225)),
    "none": Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # these nets rescale inside
}


@dataclass(frozen=True)
class Application:
    """One of them.

    Attributes:
        mode: of its `preprocess_input`.
        size: default input height and width in pixels.
        smallest: input size that it still takes. For ConvNeXt 64: below, the last map is one pixel, and tf2onnx 1.17
            then normalises over the wrong axis (seen: 81% off).
        dim: numbers in a feature vector.
        parameters: numbers in the weights, batch norm folded in; None where it was not measured.
        multiply_adds: for one picture of the default size; None where it was not measured.
    """

    mode: Mode
    size: int
    smallest: int
    dim: int
    parameters: int | None
    multiply_adds: int | None


def _read() -> dict[str, Application]:
    modes = {mode: mode for mode in get_args(Mode)}
    found = {}
    with FACTS.open(newline="") as file:
        for row in csv.DictReader(file):
            size, smallest, dim = (int(row[name]) for name in ("size", "smallest", "dim"))
            parameters, multiply_adds = (
                int(row[name]) if row[name] else None for name in ("parameters", "multiply_adds")
            )
            found[row["name"]] = Application(modes[row["mode"]], size, smallest, dim, parameters, multiply_adds)
    return found


APPLICATIONS = _read()
