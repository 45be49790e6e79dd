from __future__ import annotations

from pathlib import Path


def checks_child_path() -> Path:
    return Path(__file__).with_name("checks_child.py")
