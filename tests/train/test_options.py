from __future__ import annotations

import pytest

from fxengine import InputError
from fxengine.train.options import AUGMENTATIONS, FinetuneOptions, augmentations


def test_augmentations_are_a_set_or_a_list() -> None:
    assert augmentations("none") == ()
    assert augmentations("strong") == AUGMENTATIONS
    assert set(augmentations("light")) < set(AUGMENTATIONS)
    assert augmentations("flip, grey") == ("flip", "grey")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"augment": "flip,turn"}, "no augmentation 'turn'. There is: none, light, strong, flip"),
        ({"rate": 0.0}, "`rate` must be between"),
        ({"validation": 0.6, "test": 0.4}, "leave something to train on"),
        ({"epochs": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_is_said(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FinetuneOptions(**wrong)  # type: ignore[arg-type]
