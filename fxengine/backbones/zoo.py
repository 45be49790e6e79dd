"""Lists the backbones that can be used by name, what each needs, and those that the cache holds beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fxengine.backbones import DEFAULT_OF_TEXTS, EMBEDDED, cached_space, load_backbone
from fxengine.backbones.cache import all_kept
from fxengine.backbones.children.keras_env import python
from fxengine.backbones.sources.keras_applications import APPLICATIONS
from fxengine.backbones.spec import BackboneFile, TextRecipe
from fxengine.errors import InputError

_INSTALL, _INSTALL_TEXT = "pip install 'fxengine[keras]'", "pip install 'fxengine[text]'"


@dataclass(frozen=True)
class Backbones:
    """The backbones that can be used by name, and those that were exported before.

    Attributes:
        backbones: name, source, modality ("picture" or "text"), dim (numbers of a vector), size (input height in
            pixels, of texts the most tokens), parameters, multiply_adds (for a picture, of texts for a token), licence,
            installed, install (the command that makes it usable, or ""), cached and path (the file in the cache, which
            serves as a name, of those that have no other one) of each; None for what is not known where it is not
            installed.
    """

    backbones: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON data."""
        return {"backbones": list(self.backbones)}


def list_backbones() -> Backbones:
    """Return what there is, and what each needs.

    Parameters and multiply-adds are those of the headless net at its default size; TensorFlow is never loaded for it.
    """
    ready, named, rows = _keras_is_installed(), set[str | None](), []
    for name in EMBEDDED:
        space, row = _embedded(name)
        named.add(space)
        rows.append(row)
    for name, application in sorted(APPLICATIONS.items()):
        space = cached_space("keras", name) if ready else None
        named.add(space)
        rows.append(
            {
                "name": f"keras:{name}",
                "source": "Keras Applications, ImageNet weights from Keras's own download",
                "modality": "picture",
                "dim": application.dim,
                "size": application.size,
                "parameters": application.parameters,
                "multiply_adds": application.multiply_adds,
                "licence": "see keras.io",
                "installed": ready,
                "install": "" if ready else _INSTALL,
                "cached": space is not None,
                "path": None,
            }
        )
    others = [
        {**_row(found.facts.name, found), "path": str(found.path)}
        for found in all_kept()
        if found.fingerprint not in named
    ]
    return Backbones((*rows, *sorted(others, key=lambda row: (row["source"], row["path"]))))


def _keras_is_installed() -> bool:
    try:
        return bool(python())
    except InputError:
        return False


def _embedded(name: str) -> tuple[str | None, dict[str, Any]]:
    """Return the feature space of an embedded net, None where it cannot be had, and its row."""
    try:
        found = load_backbone(name)
    except InputError as error:  # the extra is not installed, or holds another file
        modality = "text" if name == DEFAULT_OF_TEXTS else "picture"
        unknown = dict.fromkeys(("dim", "size", "parameters", "multiply_adds", "licence", "path"))
        needs = {"installed": False, "install": _INSTALL_TEXT if name == DEFAULT_OF_TEXTS else "", "cached": False}
        return None, {"name": name, "source": str(error), "modality": modality, **unknown, **needs}
    return found.fingerprint, _row(name, found)


def _row(name: str, found: BackboneFile) -> dict[str, Any]:
    facts, recipe = found.facts, found.recipe
    return {
        "name": name,
        "source": facts.source,
        "modality": recipe.modality,
        "dim": facts.dim,
        "size": recipe.max_tokens if isinstance(recipe, TextRecipe) else recipe.height,
        "parameters": facts.parameters,
        "multiply_adds": facts.multiply_adds,
        "licence": facts.licence,
        "installed": True,
        "install": "",
        "cached": True,
        "path": None,
    }
