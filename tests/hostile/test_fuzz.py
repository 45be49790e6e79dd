"""Every target of the fuzzer for a few seconds, always with the same inputs; `scripts/fuzz TARGET` goes on."""

from __future__ import annotations

import pytest

from tests.hostile.fuzz import TARGETS
from tests.hostile.fuzz.runs import Fuzzed, fuzz

EXAMPLES = 300


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fuzzed]:
    """What came of each target, all in one process."""
    keep = tmp_path_factory.mktemp("fuzz")
    return {done.target: done for done in fuzz(TARGETS, keep, examples=EXAMPLES, seed=0)}


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_comes_through(target: str, fuzzed: dict[str, Fuzzed]) -> None:
    done = fuzzed[target]
    again = "\n".join(f"{fault}\n    scripts/fuzz {target} --again {file}" for fault, file in done.faults.items())
    assert not done.faults, again
    assert done.examples >= EXAMPLES // 2  # fewer where the strategy has no more
