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
        ({"augment": "flip,turn"}, "There is no `augment` 'turn'. There is: none, light, strong, flip"),
        ({"rate": 0.0}, "`rate` must be a number above 0 and at most 1"),
        ({"optimizer": "adam"}, "There is no `optimizer` 'adam'. Did you mean adamw. There is: adamw, sgd, rmsprop"),
        ({"unfreeze": 3.5}, "`unfreeze` must be text: 'all', .* Got 3.5"),
        ({"seed": -1}, "`seed` must be between 0 and 4294967295"),
        ({"near": "0.9"}, "`near` must be a number above 0. Got '0.9'"),
        ({"label_smoothing": 1}, "`label_smoothing` must be at least 0 and below 1. Got 1"),
        ({"validation": 0.6, "test": 0.4}, "leave something to train on"),
        ({"epochs": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_is_said(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FinetuneOptions(**wrong)  # type: ignore[arg-type]
