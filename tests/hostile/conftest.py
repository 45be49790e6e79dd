"""What the hostile tests share: the process that runs commands, sound files, and the counts at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.cases import Kit, make_kit, make_text_kit
from tests.hostile.served import Counts, Server

_COUNTS = pytest.StashKey[Counts]()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Server]:
    """The process that runs commands, with a cache of its own."""
    thorough = bool(pytestconfig.getoption("--all", False))
    made = Server({"FXENGINE_CACHE": str(tmp_path_factory.mktemp("hostile-cache"))}, thorough)
    yield made
    made.close()
    pytestconfig.stash[_COUNTS] = made.counts


@pytest.fixture(scope="session")
def kit(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Sound files that hostile ones are made of."""
    return make_kit(server, tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="session")
def text_kit(server: Server, kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Sound files of texts."""
    return make_text_kit(server, tmp_path_factory.mktemp("text-kit"), kit)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that is removed behind the test, however deep it has become: Python's own rmtree recurses."""
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path], check=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts of one of several processes to the one that reports."""
    counts = session.config.stash.get(_COUNTS, None)
    if counts is not None and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["hostile"] = asdict(counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the counts of one of several processes."""
    counts = getattr(node, "workeroutput", {}).get("hostile")
    if counts is not None:
        node.config.stash.setdefault(_COUNTS, Counts()).join(Counts(**counts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the hostile files came to."""
    counts = config.stash.get(_COUNTS, None)
    if counts is not None:
        terminalreporter.write_line(f"hostile files: {counts}")
