"""A scikit-learn transformer: pictures or texts in, feature vectors out, for pipelines and grid searches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from fxengine.backbones import DEFAULT, DEFAULT_OF_TEXTS
from fxengine.errors import InputError
from fxengine.features.unit import unit_length
from fxengine.pipeline.embed import Backbone


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns a column of pictures or texts into feature vectors.

    `X` is a list or an array [n] or [n, 1] of paths, encoded bytes or PIL images, or uint8 pixels
    [n, height, width, 3]; for a backbone of texts, of texts. `transform` returns float32 [n, dim].

    Args:
        backbone: a name, or a file that fxengine exported; for texts one of texts, such as "minilm_l6": what is in `X`
            does not choose it.
        device: "auto", "cpu", "cuda" or "tensorrt".
        batch_size: pictures, or tokens of texts, in one run of the model; as `extract` takes them unless given.
        normalize: whether to scale every vector to length 1.
    """

    def __init__(
        self, backbone: str = DEFAULT, *, device: str = "auto", batch_size: int | None = None, normalize: bool = False
    ) -> None:
        self.backbone = backbone
        self.device = device
        self.batch_size = batch_size
        self.normalize = normalize

    def fit(self, X: object, y: object = None) -> FeatureExtractor:
        """Load the backbone; nothing is learned from `X`."""
        self.backbone_ = Backbone.load(self.backbone, device=self.device, batch_size=self.batch_size)
        self.n_features_out_ = self.backbone_.dim
        return self

    def transform(self, X: Iterable[object]) -> np.ndarray:
        """Return float32 [n, dim].

        Raises:
            DecodeError: a picture cannot be decoded, or a text is empty.
            InputError: they are not such as the backbone takes.
        """
        check_is_fitted(self)
        file = self.backbone_.file
        given = _column(X, file.recipe.modality)
        if file.recipe.modality == "picture" and _are_texts(given):
            raise InputError(
                f"None of the {len(given)} inputs is the path of a file, and {file.facts.name} takes pictures: for "
                f'texts give `backbone="{DEFAULT_OF_TEXTS}"`.'
            )
        vectors = self.backbone_.embed(given)
        if self.normalize:
            unit_length(vectors, out=vectors)
        return vectors

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return feature0, feature1, ..., as many as the backbone gives."""
        check_is_fitted(self)
        return np.asarray([f"feature{i}" for i in range(self.n_features_out_)], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded model out of copies and pickles: it is loaded again when it is needed."""
        return {key: value for key, value in super().__getstate__().items() if key != "backbone_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the model again where the copied one was fitted."""
        super().__setstate__(state)
        if "n_features_out_" in state:
            self.fit(None)


def _are_texts(given: Sequence[object]) -> bool:
    """Tell whether there is nothing but text, and not one path of a file."""
    texts = [each for each in given if isinstance(each, str)]
    return 0 < len(texts) == len(given) and not any(map(os.path.exists, texts))


def _column(X: Iterable[object], modality: str) -> list[object]:
    if isinstance(X, str | bytes):
        raise InputError(f"FeatureExtractor takes a list of {modality}s. Put a single one into a list.")
    if hasattr(X, "to_numpy"):  # a pandas table or column
        X = X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype != np.uint8:
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.ndim != 1:
            shape = list(X.shape)
            raise InputError(f"FeatureExtractor takes one column of {modality}s. Got an array of shape {shape}.")
    return [row[0] if isinstance(row, list | tuple) and len(row) == 1 else row for row in X]
