"""CI cannot be green by skipping."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.allowed_skips import ALLOWED, REQUIRE, allowed
from tests.conftest import PATIENCE, ROOT

TESTS = """
import pytest
def test_passes(): pass
def test_skips(): pytest.skip("no photos here")
@pytest.mark.skipif(True, reason="no such library")
def test_is_marked(): pass
@pytest.mark.xfail(reason="not yet")
def test_is_expected_to_fail(): assert False
"""


def outcomes(folder: Path, require: str) -> tuple[int, str]:
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_none.py").write_text("import pytest\npytest.importorskip('a_library_that_nobody_has')\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    # Where CI is set pytest does not shorten its summary, and each reason stands in what it prints twice.
    environment = {**{k: v for k, v in os.environ.items() if k not in ("CI", "BUILD_NUMBER")}, REQUIRE: require}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.allowed_skips", "-p", "no:cacheprovider",
         "--continue-on-collection-errors", str(folder)],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=PATIENCE, env=environment,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.slow
def test_a_skip_fails_where_everything_is_required(tmp_path: Path) -> None:
    code, said = outcomes(tmp_path, "1")
    assert code != 0
    for reason in ("no photos here", "no such library", "expected to fail", "a_library_that_nobody_has"):
        assert reason in said
    assert said.count("this may not be skipped here. What may is listed in tests/allowed_skips.py.") == 4
    assert "skipped" not in said.splitlines()[-1]
    assert "xfailed" not in said.splitlines()[-1]


@pytest.mark.slow
def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    code, said = outcomes(tmp_path, "")
    assert code == 0
    assert re.match(r"1 passed, 3 skipped, 1 xfailed in ", said.splitlines()[-1])


def test_what_may_be_skipped_names_tests_that_there_are_and_a_reason() -> None:
    for begin, reason, why in ALLOWED:
        assert (ROOT / begin.partition("::")[0]).exists(), begin
        assert len(reason) > 8, "a reason that fits anything"
        assert why
        assert allowed(f"{begin}::test", reason)
    assert not allowed("tests/ui/test_cli.py::test_other", "this sandbox allows no mounts")
