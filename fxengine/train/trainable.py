"""Which backbones can be trained, and what the training process must know of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones import load_backbone, plain_name
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import efficientnet_lite, from_keras
from fxengine.backbones.sources.preprocessing import Preparation
from fxengine.backbones.sources.torch_state import read_state
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError
from fxengine.pipeline.suited import holds_texts

_INSTEAD = "A head on the features of texts takes seconds: `fxengine extract`, then `fxengine probe`."


@dataclass(frozen=True)
class Trainable:
    """A net that can be trained.

    Attributes:
        file: its export, whose features the probe is fitted to.
        preparation: how its pixels are prepared.
        job: how the training process builds it.
    """

    file: BackboneFile
    preparation: Preparation
    job: dict[str, Any]


def is_trainable(source: str) -> bool:
    """Tell whether a source is of a kind that can be trained; neither it nor Keras need be there."""
    kind, _, what = source.partition(":")
    return plain_name(source) == efficientnet_lite.NAME or (kind == "keras" and bool(what))


def refuse_texts(inputs: Path) -> None:
    """Raise InputError where inputs are texts, which no net is trained on."""
    if holds_texts(inputs):
        raise InputError(f"{inputs} holds texts, and only nets of pictures are trained. {_INSTEAD}")


def refuse_net_of_texts(found: BackboneFile) -> None:
    """Raise InputError where a backbone takes texts: it is not trained."""
    if found.recipe.modality == "text":
        raise InputError(f"{found.facts.name} takes texts, and only nets of pictures are trained. {_INSTEAD}")


def load_trainable(source: str, options: ExportOptions, folder: Path) -> Trainable:
    """Return what is needed to train `source`; weights that Keras does not have are written into `folder`.

    Raises:
        InputError: it cannot be trained, is not there, or Keras is not installed.
    """
    if not is_trainable(source):
        names = ", ".join([efficientnet_lite.NAME, "keras:NAME", "keras:FILE.keras", "keras:SAVEDMODEL_FOLDER"])
        raise InputError(f"{source} cannot be trained: only Keras nets can ({names}).")
    if plain_name(source) == efficientnet_lite.NAME:
        return _lite0(options, folder)
    an_order = from_keras.order(source.partition(":")[2], options)
    return Trainable(load_backbone(source, options), an_order.preparation, an_order.job)


def _lite0(options: ExportOptions, folder: Path) -> Trainable:
    if options != ExportOptions():
        raise InputError(f"{efficientnet_lite.NAME} is trained as it is: leave out `weights` and `size`.")
    recipe = efficientnet_lite.RECIPE
    weights = folder / "lite0.npz"
    np.savez(weights, allow_pickle=False, **read_state(efficientnet_lite.weights_path()))
    job = {
        "kind": "lite0",
        "what": efficientnet_lite.NAME,
        "weights": str(weights.absolute()),
        "stages": efficientnet_lite.STAGES,
        "height": recipe.height,
        "width": recipe.width,
        "layers": [],
        "pooling": None,
        "logits": False,
    }
    wants = Preparation(recipe, efficientnet_lite.MEAN, efficientnet_lite.STD, bgr=False, source=efficientnet_lite.NAME)
    return Trainable(load_backbone(efficientnet_lite.NAME), wants, job)
