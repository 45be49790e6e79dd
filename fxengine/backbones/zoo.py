"""Lists the backbones that can be used by name, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fxengine.backbones import DEFAULT_OF_TEXTS, EMBEDDED, is_cached, load_backbone
from fxengine.backbones.children.keras_env import python
from fxengine.backbones.sources.keras_applications import APPLICATIONS
from fxengine.backbones.spec import TextRecipe
from fxengine.errors import InputError

_INSTALL, _INSTALL_TEXT = "pip install 'fxengine[keras]'", "pip install 'fxengine[text]'"


@dataclass(frozen=True)
class Backbones:
    """The backbones that can be used by name.

    Attributes:
        backbones: name, source, dim (numbers of a vector), size (input height in pixels, of texts the most tokens),
            parameters, multiply_adds (for a picture, of texts for a token), licence, installed, install (the command
            that makes it usable, or "") and cached of each; None for what is not known where it is not installed.
    """

    backbones: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON data."""
        return {"backbones": list(self.backbones)}


def list_backbones() -> Backbones:
    """Return what there is, and what each needs.

    Parameters and multiply-adds are those of the headless net at its default size; TensorFlow is never loaded for it.
    """
    rows = [_embedded(name) for name in EMBEDDED]
    ready = _keras_is_installed()
    for name, application in sorted(APPLICATIONS.items()):
        rows.append(
            {
                "name": f"keras:{name}",
                "source": "Keras Applications, ImageNet weights from Keras's own download",
                "dim": application.dim,
                "size": application.size,
                "parameters": application.parameters,
                "multiply_adds": application.multiply_adds,
                "licence": "see keras.io/api/applications",
                "installed": ready,
                "install": "" if ready else _INSTALL,
                "cached": ready and is_cached("keras", name),
            }
        )
    return Backbones(tuple(rows))


def _keras_is_installed() -> bool:
    try:
        return bool(python())
    except InputError:
        return False


def _embedded(name: str) -> dict[str, Any]:
    try:
        facts = load_backbone(name).facts
    except InputError as error:  # the extra is not installed, or holds another file
        unknown = dict.fromkeys(("dim", "size", "parameters", "multiply_adds", "licence"))
        install = _INSTALL_TEXT if name == DEFAULT_OF_TEXTS else ""
        return {"name": name, "source": str(error), **unknown, "installed": False, "install": install, "cached": False}
    recipe = facts.recipe
    return {
        "name": name,
        "source": facts.source,
        "dim": facts.dim,
        "size": recipe.max_tokens if isinstance(recipe, TextRecipe) else recipe.height,
        "parameters": facts.parameters,
        "multiply_adds": facts.multiply_adds,
        "licence": facts.licence,
        "installed": True,
        "install": "",
        "cached": True,
    }
