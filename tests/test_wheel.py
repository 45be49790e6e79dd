"""The wheel, installed into an empty environment and run from another folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from venv import EnvBuilder

import pytest

import fxengine
from tests.conftest import ROOT, make_photo

PACKAGE = ROOT / "fxengine"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs; what the wheel depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    EnvBuilder(with_pip=False).create(folder)
    made = {"base": str(folder), "platbase": str(folder)}
    scripts, site = (Path(sysconfig.get_path(name, "venv", made)) for name in ("scripts", "purelib"))
    command = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", "--no-deps", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Behind the wheel's own folder; a .pth in it, such as that of an editable fxengine, is not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def run(programs: Path, folder: Path, program: str, *arguments: object) -> str:
    """Run a program of the environment in another folder; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [programs / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "PYTHONSAFEPATH": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert names == {name for name in files if "__pycache__" not in name}
    assert "fxengine/py.typed" in names
    assert {Path(name).suffix for name in names} == {".py", ".csv", ".txt", ".typed", ".html", ".css", ".js", ".svg"}
    assert {Path(name).name for name in names if name.endswith("_child.py")} == {
        "keras_child.py",
        "torch_child.py",
        "train_child.py",
        "nets_child.py",
        "texts_child.py",
        "torch_train_child.py",
    }


@pytest.mark.slow
def test_its_command_works_elsewhere(programs: Path, tmp_path: Path) -> None:
    for i in range(2):
        make_photo(tmp_path / "photos" / f"{i}.jpg", i)
    place = run(programs, tmp_path, "python", "-c", "import fxengine; print(fxengine.__file__)")
    assert Path(place.strip()).is_relative_to(programs.parent)
    assert run(programs, tmp_path, "fxengine", "--version") == f"fxengine {fxengine.__version__}\n"
    listed = json.loads(run(programs, tmp_path, "fxengine", "backbones", "--json"))
    assert {"efficientnet_lite0", "keras:ResNet50"} <= {row["name"] for row in listed}
    done = json.loads(run(programs, tmp_path, "fxengine", "extract", "photos", "-o", "store", "--json"))
    assert (done["extracted"], done["failed"]) == (2, {})
    assert json.loads(run(programs, tmp_path, "fxengine", "info", "store", "--json"))["rows"] == 2
    named = json.loads(run(programs, tmp_path, "fxengine", "predict", "photos", "--top", 1, "--json"))
    classes = (PACKAGE / "backbones" / "sources" / "imagenet_1k.txt").read_text()
    assert [each["id"] for each in named] == ["0.jpg", "1.jpg"]
    assert all(each["labels"][0] in classes for each in named)
    run(programs, tmp_path, "fxengine", "search", "store", "--id", "0.jpg", "-k", 1, "--html", "page.html")
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg;base64,") == 2


APART = """
import numpy as np
from pathlib import Path
from fxengine.backbones.spec import PictureRecipe
from fxengine.decode.limits import Limits
from fxengine.decode.picture.apart import decode_apart
out = np.zeros((8, 8, 3), np.uint8)
recipe = PictureRecipe(height=8, width=8, edge="short", size=8, kernel="bilinear")
print(decode_apart(Path("a.jpg").read_bytes(), recipe, Limits(), out), out.any())
"""


@pytest.mark.slow
def test_a_decoder_starts_apart_elsewhere(programs: Path, tmp_path: Path) -> None:
    make_photo(tmp_path / "a.jpg", 1)
    assert run(programs, tmp_path, "python", "-c", APART) == "(60, 48) True\n"


IMPORT = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    try:
        import_module(name)
    except ModuleNotFoundError:
        owner, _, last = name.rpartition(".")
        getattr(import_module(owner), last)
"""


@pytest.mark.slow
def test_every_string_that_names_a_module_can_be_imported_elsewhere(programs: Path, tmp_path: Path) -> None:
    text = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    names = sorted(set(re.findall(r'"(fxengine(?:\.\w+)+)"', text)))
    assert {"fxengine.decode.picture.apart", "fxengine.heads.ridge", "fxengine.pipeline.extract"} <= set(names)
    run(programs, tmp_path, "python", "-c", IMPORT, *names)
