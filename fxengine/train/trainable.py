"""Which backbones can be trained, and what the training process must know of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fxengine.backbones import load_backbone, meant_by, plain_name
from fxengine.backbones.children import torch_env
from fxengine.backbones.graph.prologue import pixels_of
from fxengine.backbones.options import ExportOptions, refuse_of_words
from fxengine.backbones.sources import efficientnet_lite, from_keras, from_torch_hf, torch_pictures
from fxengine.backbones.sources.keras_applications import APPLICATIONS
from fxengine.backbones.sources.preprocessing import Preparation, preprocessing_file
from fxengine.backbones.sources.torch_state import read_state
from fxengine.backbones.spec import BackboneFile, TextRecipe
from fxengine.backbones.tokenizer import tokenizer_in
from fxengine.backbones.words.vectors import WordVectors
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.errors import InputError
from fxengine.pipeline.suited import holds_texts
from fxengine.train.room import written_to

VECTORS = "vectors"
_KINDS = ("keras", VECTORS, *torch_env.LIBRARIES)
_INSTEAD = "A head on the features of texts takes seconds: `fxengine extract`, then `fxengine probe`."
_OVER_VECTORS = "give `backbone` vectors:FILE, over which a net is trained, or torch-hf:NAME"


@dataclass(frozen=True)
class Trainable:
    """A net that can be trained.

    Attributes:
        file: its export, whose features the probe is fitted to.
        preparation: how its pixels are prepared.
        job: how the training process builds it.
        kind: of source that it is of.
    """

    file: BackboneFile
    preparation: Preparation
    job: dict[str, Any]
    kind: str = "keras"

    @property
    def pixels(self) -> dict[str, Any]:
        """What the training process does to pixels."""
        return {"mean": self.preparation.mean, "std": self.preparation.std, "bgr": self.preparation.bgr}


@dataclass(frozen=True)
class TextNet:
    """Word vectors that a net is trained over.

    Attributes:
        file: the mean of a text's words as a backbone, whose features the probe is fitted to.
        vectors: of the words.
        known: the words that have one, and how those of a text are found.
    """

    file: BackboneFile
    vectors: WordVectors
    known: Vocabulary


@dataclass(frozen=True)
class TokenNet:
    """A net of texts of transformers that can be trained.

    Attributes:
        file: its export, whose features the probe is fitted to.
        recipe: how texts become its tokens.
        what: the repository.
        options: with which it was exported.
        job: how the training process builds it.
    """

    file: BackboneFile
    recipe: TextRecipe
    what: str
    options: ExportOptions
    job: dict[str, Any]


def is_trainable(source: str) -> bool:
    """Tell whether a source is of a kind that can be trained; neither it nor its framework need be there."""
    kind, _, what = source.partition(":")
    return plain_name(source) == efficientnet_lite.NAME or (kind in _KINDS and bool(what))


def takes_tokens(source: str) -> bool:
    """Tell whether a source may be a net of texts that is trained itself."""
    return source.startswith(f"{from_torch_hf.KIND}:")


def is_over_vectors(source: str) -> bool:
    """Tell whether a source is a file of word vectors, over which a net of texts is trained."""
    kind, _, what = source.partition(":")
    return kind == VECTORS and bool(what)


def refuse_texts(inputs: Path) -> None:
    """Raise InputError where inputs are texts."""
    if holds_texts(inputs):
        raise InputError(f"{inputs} holds texts, and this takes pictures. {_INSTEAD}")


def refuse_pictures(inputs: Path, source: str) -> None:
    """Raise InputError where inputs are no texts, which `source` takes."""
    if not holds_texts(inputs):
        raise InputError(f"{inputs} holds pictures, and {source} takes texts.")


def refuse_texts_without_vectors(inputs: Path, source: str) -> None:
    """Raise InputError where inputs are texts, and `source` is neither a net of texts nor what one is trained over."""
    if holds_texts(inputs) and not (is_over_vectors(source) or takes_tokens(source)):
        raise InputError(f"{inputs} holds texts: {_OVER_VECTORS} instead of {source}. {_INSTEAD}")


def refuse_net_of_texts(found: BackboneFile) -> None:
    """Raise InputError where a backbone takes texts."""
    if found.recipe.modality == "text":
        raise InputError(f"{found.facts.name} takes texts, and this takes pictures. {_INSTEAD}")


def load_trainable(source: str, options: ExportOptions, folder: Path) -> Trainable | TokenNet:
    """Return what is needed to train `source`; weights that Keras does not have are written into `folder`.

    Raises:
        InputError: it cannot be trained, is not there, or its framework is not installed.
    """
    if not is_trainable(source) or is_over_vectors(source):
        if (meant := meant_by(source)) is not None:
            raise InputError(f"{source} cannot be trained by itself. Did you mean {meant}?")
        keras = ", ".join([efficientnet_lite.NAME, "keras:NAME", "keras:FILE.keras", "keras:SAVEDMODEL_FOLDER"])
        torch = ", ".join(f"{kind}:NAME" for kind in torch_env.LIBRARIES)
        raise InputError(
            f"{source} cannot be trained: nets of Keras can ({keras}), those of PyTorch ({torch}), and for texts nets "
            "over vectors:FILE."
        )
    refuse_of_words(options, source)
    if plain_name(source) == efficientnet_lite.NAME:
        return _lite0(options, folder)
    kind, _, what = source.partition(":")
    if kind in torch_env.LIBRARIES:
        return _of_torch(kind, what, options)
    _check_pixels(source, what, options)
    an_order = from_keras.order(what, options)
    return Trainable(load_backbone(source, options), an_order.preparation, an_order.job)


def load_trainable_of_pictures(source: str, options: ExportOptions, folder: Path) -> Trainable:
    """Return what `load_trainable` does; raises InputError where that takes texts, too."""
    found = load_trainable(source, options, folder)
    if isinstance(found, TokenNet):
        raise InputError(f"{source} takes texts, and this takes pictures. {_INSTEAD}")
    return found


def _of_torch(kind: str, what: str, options: ExportOptions) -> Trainable | TokenNet:
    """Return a net of PyTorch: what its export says of pixels and pooling is what is trained."""
    file = load_backbone(f"{kind}:{what}", options)
    if isinstance(file.recipe, TextRecipe):
        job = {**from_torch_hf.job_of(what, options), "pooling": file.facts.pooling}
        return TokenNet(file, file.recipe, what, options, job)
    pixels = pixels_of(onnx.load(file.path))
    wants = Preparation(file.recipe, pixels.mean, pixels.std, pixels.bgr, file.facts.name)
    recipe = file.recipe
    sized = replace(options, size=(recipe.height, recipe.width))
    make = from_torch_hf.job_of if kind == from_torch_hf.KIND else partial(torch_pictures.job_of, kind)
    return Trainable(file, wants, make(what, sized), kind)


def _check_pixels(source: str, what: str, options: ExportOptions) -> None:
    """Raise InputError where nothing says how a net of one's own wants its pixels, in words that a training takes."""
    path = Path(what)
    if what in APPLICATIONS or not path.exists() or (path.is_dir() and not options.trust):  # which is said first
        return
    if preprocessing_file(options, path if path.is_dir() else path.parent) is None:
        raise InputError(
            f"How {source} wants its pixels is not stated, and a guess would train a wrong net silently: give a JSON "
            'file as `preprocess`, such as {"scale": 1} for pixels from 0 to 255, or {"scale": 0.00392157} from 0 to 1.'
        )


def load_text_net(source: str, options: ExportOptions) -> TextNet:
    """Return the word vectors of `source`, "vectors:FILE".

    Raises:
        InputError: there are none, or they are those of pieces of words.
    """
    file = load_backbone(source, options)
    if not isinstance(file.recipe, TextRecipe) or file.recipe.kind != "words":
        raise InputError(
            f"{source} has vectors of pieces of words, and nets are trained over those of whole words: give a file of "
            f"GloVe, word2vec or fastText. {_INSTEAD}"
        )
    vectors = WordVectors.open(source.partition(":")[2], words=options.words)
    return TextNet(file, vectors, Vocabulary.from_bytes(tokenizer_in(file)))


def _lite0(options: ExportOptions, folder: Path) -> Trainable:
    if options != ExportOptions():
        raise InputError(f"{efficientnet_lite.NAME} is trained as it is: leave out `weights` and `size`.")
    recipe = efficientnet_lite.RECIPE
    weights = folder / "lite0.npz"
    with written_to(folder):
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
