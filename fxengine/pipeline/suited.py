"""Inputs that suit a backbone, or a sentence that says what it takes."""

from __future__ import annotations

import os
from pathlib import Path

from fxengine.backbones.spec import BackboneFile
from fxengine.collect import Listing, TextColumns, collect
from fxengine.collect.table_rows import READERS
from fxengine.errors import InputError
from fxengine.pipeline.given_texts import SUFFIX

WANTED = {
    "picture": "a picture, or a folder of pictures",
    "text": f"a table of texts ({', '.join(READERS)}), or a folder of {SUFFIX} files",
}


def collect_for(found: BackboneFile, inputs: Path, columns: TextColumns = TextColumns()) -> Listing:  # noqa: B008 - frozen
    """Return the inputs that a backbone is to take.

    Raises:
        InputError: they are texts and it takes pictures, or the other way round; or as `collect` does.
    """
    modality = found.recipe.modality
    if modality == "picture" and holds_texts(inputs):
        raise _unsuited(found, f"{inputs} holds texts")
    listing = collect(inputs, modality=modality, columns=columns)
    if modality == "text" and os.path.isdir(inputs) and next(iter(listing), None) is None:  # noqa: PTH112
        raise _unsuited(found, f"{inputs} holds no {SUFFIX} file")
    return listing


def ensure_suited(found: BackboneFile, inputs: Path) -> None:
    """Raise InputError where inputs are a table of texts, which the backbone does not take, or a folder of tables."""
    if found.recipe.modality == "picture" and is_table(inputs):
        raise _unsuited(found, f"{inputs} holds texts")
    if not os.path.isdir(inputs):  # noqa: PTH112
        return
    first = next(iter(collect(inputs)), None)
    if first is None or not is_table(Path(first.source)) or first.key.lower().endswith(SUFFIX):
        return
    if all(is_table(Path(item.source)) for item in collect(inputs)):
        raise InputError(f"{inputs} holds tables ({first.key}, ...): extract from one of them at a time.")


def is_table(inputs: Path) -> bool:
    """Tell whether it is a file of texts, one after the other."""
    # Not by `Path.is_file`, which raises on a name that is too long to be one.
    return inputs.suffix.lower() in READERS and os.path.isfile(inputs)  # noqa: PTH113


def holds_texts(inputs: Path) -> bool:
    """Tell whether it is a table of texts, or a folder of nothing but .txt files."""
    if not os.path.isdir(inputs):  # noqa: PTH112
        return is_table(inputs)
    found = False
    for item in collect(inputs):
        if not item.key.lower().endswith(SUFFIX):
            return False
        found = True
    return found


def _unsuited(found: BackboneFile, what: str) -> InputError:
    modality = found.recipe.modality
    return InputError(f"{what}, and {found.facts.name} takes {modality}s: give {WANTED[modality]}.")
