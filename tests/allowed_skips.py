"""What may be skipped where FXENGINE_REQUIRE=1 says that everything is there, as in CI: any other skip is a failure.

A plugin of pytest, which tests/conftest.py loads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import TypeVar

import pytest

REQUIRE = "FXENGINE_REQUIRE"

# (beginning of the test's id, the skip's reason as a pattern, why CI cannot have it)
ALLOWED = (
    ("tests/collect/test_archive.py", "there is no zip here", "CI's container may not have Debian's zip"),
    ("tests/faults/test_disk.py", "this sandbox allows no mounts", "CI's container may not mount"),
    ("tests/pipeline/test_precision.py", "this processor has every precision", "CI's processor may be a newer one"),
    ("tests/serving/test_browser.py", "there is no chromium here", "CI's container may have no browser"),
    ("tests/serving/test_browser_answers.py", "there is no chromium here", "CI's container may have no browser"),
    ("tests/repair/test_doctor.py", "there is an NVIDIA driver here", "CI's machine may have a GPU"),
)

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def allowed(test: str, reason: str) -> bool:
    """Return whether the list has this test with this reason."""
    return any(test.startswith(begin) and re.search(pattern, reason) for begin, pattern, _ in ALLOWED)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at a test's skip, or its expected failure."""
    return _required((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at the skip of a whole file, such as importorskip's."""
    return _required((yield))


def _required(report: _Report) -> _Report:
    if report.outcome == "skipped" and os.environ.get(REQUIRE) == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
        if not allowed(report.nodeid, reason):
            report.outcome = "failed"
            report.longrepr = (
                f"{reason}\n{REQUIRE}=1: this may not be skipped here. What may is listed in tests/allowed_skips.py."
            )
    return report
