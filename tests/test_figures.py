"""The figures in the docs are those of bench/results, and README's are of code that a commit holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench import report
from bench.machine import RESULTS
from tests.conftest import ROOT


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "results"
    shutil.copytree(ROOT / "bench" / "results", folder)
    monkeypatch.setattr(report, "RESULTS", folder)
    return folder


def change(results: Path, name: str, commit: str) -> None:
    path = results / f"{name}.json"
    result = json.loads(path.read_text())
    result["machine"]["commit"] = commit
    path.write_text(json.dumps(result))


def test_the_pages_are_what_the_results_say() -> None:
    for page, made in ((report.README, report.five()), (report.FIGURES, report.figures())):
        text = page.read_text()
        assert text == report.between(text, made), f"{page.name}: run python -m bench.report"


def test_readme_has_five_figures_and_links_the_others() -> None:
    assert len(report.five()) == 2 + 5
    assert "[docs/figures.md](docs/figures.md)" in report.README.read_text()


def test_readme_refuses_a_result_that_no_commit_holds(results: Path) -> None:
    change(results, "pca", "0482324+changes")
    with pytest.raises(
        SystemExit, match=r"README's figures come from commits alone: commit, then run scripts/bench pca\."
    ):
        report.five()


def test_a_result_that_no_commit_holds_is_marked(results: Path) -> None:
    before = report.figures()
    change(results, "pca", "0482324+changes")
    changed = [line for line, was in zip(report.figures(), before, strict=True) if line != was]
    assert len(changed) == 2
    assert changed[0].startswith("| PCA to 256 of 200,000 x 1280, from Parquet † | ")
    assert "pca (0482324+changes)" in changed[1]


def test_every_result_but_one_of_settings_has_a_line() -> None:
    assert {path.stem for path in RESULTS.glob("*.json")} - report.MAKERS.keys() == {"pipeline"}
