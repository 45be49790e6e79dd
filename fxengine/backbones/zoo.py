"""Lists the backbones that can be used by name, what each needs, and those that the cache holds beside them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from fxengine.backbones import DEFAULT_OF_TEXTS, EMBEDDED, cached_space, load_backbone
from fxengine.backbones.cache import all_kept
from fxengine.backbones.children import torch_env
from fxengine.backbones.children.keras_env import python
from fxengine.backbones.sources.keras_applications import APPLICATIONS
from fxengine.backbones.spec import BackboneFile, TextRecipe
from fxengine.errors import InputError, one_of

_INSTALL, _INSTALL_TEXT = "pip install 'fxengine[keras]'", "pip install 'fxengine[text]'"
_UNKNOWN = ("dim", "size", "parameters", "multiply_adds", "licence")  # of a net that is not made yet


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


def list_backbones(*, source: str | None = None, like: str | None = None) -> Backbones:
    """Return what there is, and what each needs.

    Parameters and multiply-adds are those of the headless net at its default size; TensorFlow is never loaded for it,
    and PyTorch in another process, where one of its libraries is asked for.

    Args:
        source: the kind of source alone whose names are listed: "keras", "timm" or "torchvision".
        like: a part of the name, or a pattern with "*", in any case of letters.

    Raises:
        InputError: there is no such source, it is not installed, or has no such name.
    """
    if source is not None:
        one_of("source", source, tuple(_NAMED))
    rows = _all() if source is None else _NAMED[source]()
    if like is not None:
        pattern = like.lower() if "*" in like else f"*{like.lower()}*"
        found = [row for row in rows if fnmatchcase(row["name"].lower(), pattern)]
        if not found:
            near = difflib.get_close_matches(
                like.lower(), [row["name"].partition(":")[2] for row in rows], n=4, cutoff=0.4
            )
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise InputError(f"No backbone has a name like {like!r}.{hint}")
        rows = found
    return Backbones(tuple(rows))


def _all() -> list[dict[str, Any]]:
    """Return those that are known without another process, and those that the cache holds beside them."""
    named, rows = set[str | None](), []
    for name in EMBEDDED:
        space, row = _embedded(name)
        named.add(space)
        rows.append(row)
    if _keras_is_installed():
        named |= {cached_space("keras", name) for name in APPLICATIONS}
    others = [
        {**_row(found.facts.name, found), "path": str(found.path)}
        for found in all_kept()
        if found.fingerprint not in named
    ]
    return [*rows, *_applications(), *sorted(others, key=lambda row: (row["source"], row["path"]))]


def _applications() -> list[dict[str, Any]]:
    ready = _keras_is_installed()
    return [
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
            "cached": ready and cached_space("keras", name) is not None,
            "path": None,
        }
        for name, application in sorted(APPLICATIONS.items())
    ]


def _of_torch(kind: str) -> list[dict[str, Any]]:
    """Return the nets of a library of PyTorch, which tells no more of one than its name before it makes it."""
    said = {"source": f"{kind}, weights from its own download", "modality": "picture"}
    state = {"installed": True, "install": "", "cached": False, "path": None}
    return [{"name": f"{kind}:{name}", **said, **dict.fromkeys(_UNKNOWN), **state} for name in torch_env.names(kind)]


_NAMED: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "keras": _applications,
    "timm": lambda: _of_torch("timm"),
    "torchvision": lambda: _of_torch("torchvision"),
}


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
        unknown = {**dict.fromkeys(_UNKNOWN), "path": None}
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
