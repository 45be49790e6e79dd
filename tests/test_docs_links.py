"""What README and docs point to is there: pages, headings, files, commands and their flags."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from fxengine.ui.commands import COMMANDS, load_command
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
# flags of pytest, of the scripts, of benchmarks and of the other programs that the pages name
OTHERS = {"--all", "--fix", "--logdir", "--large", "--missing", "--names", "--net", "--seeds", "--splits", "--x", "--y",
          "--neighbors", "--vector", "--embedding_column_name", "--file_format",
          "--address", "--entrypoint-num-gpus", "--array", "--cpus-per-task", "--dependency", "--gres", "--requeue",
          "--parsable", "--time", "--wrap"}  # fmt: skip


def anchors(page: Path) -> set[str]:
    """Return the headings of a page, as GitHub makes links of them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_to_pages_and_headings_that_there_are(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pages
def test_a_page_with_a_section_number_is_right(page: Path) -> None:
    for link, number in re.findall(r"\]\(([^)\s]+)\), section (\d+)", page.read_text()):
        assert any(anchor.startswith(f"{number}-") for anchor in anchors(page.parent / link)), (link, number)


@pages
def test_files_and_modules_that_are_named_are_there(page: Path) -> None:
    text = page.read_text()
    if page.name == "decisions.md":  # an old entry names a file as it was called then
        text = text.partition("## Before")[0].replace("`tasks/`", "").replace("`finetune/`", "")
    rooms = "|".join(path.name for path in (ROOT / "fxengine").iterdir() if path.is_dir())
    for name in re.findall(rf"`((?:{rooms})/[\w/]+\.py)`", text):
        assert (ROOT / "fxengine" / name).exists() or "NAME" in name, name
    for name in re.findall(r"\b((?:bench|tests|scripts|docs)/[\w./]*\w)", text):
        assert (ROOT / name).exists() or "NAME" in name, name
    for name in re.findall(r"python -m ((?:bench|tests)\.[\w.]+)", text):
        assert (ROOT / f"{name.replace('.', '/')}.py").exists(), name


@pages
def test_commands_that_are_named_are_there(page: Path) -> None:
    for name in re.findall(r"(?:^    |\$ |`)fxengine ([a-z]+)", page.read_text(), re.MULTILINE):
        assert name in COMMANDS, name


@pages
def test_flags_that_are_named_are_there(page: Path, flags: set[str]) -> None:
    text = page.read_text()
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) - flags <= OTHERS


@pytest.fixture(scope="module")
def flags() -> set[str]:
    found = {"--json", "--quiet"}
    for name in COMMANDS:
        parser = argparse.ArgumentParser()
        load_command(name).add_arguments(parser)
        found.update(option for action in parser._actions for option in action.option_strings)
    return found
