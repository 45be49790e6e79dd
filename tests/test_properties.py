"""A part of what `python -m bench.properties` tries: the numbers agree with their judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.judges import JUDGES

# Of each some seconds; the others of the first hundred are tried by the command.
_SEEDS = {"clusters": 2, "recall at 10, 100 and 500": 2, "cross-validation": 3, "calibration": 3, "small sets": 8}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in JUDGES for seed in range(_SEEDS.get(name, 6))])
def test_the_judges_agree(name: str, seed: int, tmp_path: Path) -> None:
    assert JUDGES[name](np.random.default_rng(seed), tmp_path) == ""
