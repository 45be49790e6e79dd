"""Lets `python -m fxengine` do what the `fxengine` command does."""

from fxengine.ui.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
