"""What tests share: where the real photos are, a tiny backbone, and a folder of small made-up photos."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.prologue import Pixels, prologue
from fxengine.backbones.spec import METADATA_KEY, BackboneFile, Facts, PictureRecipe
from fxengine.ui.supervise import PARENT
from tests.texts import tiny_text_model

if TYPE_CHECKING:
    from tests.buckets import Served

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FXENGINE_TEST_DATA", ROOT.parent / "shared" / "data"))
pytest_plugins = ["tests.allowed_skips"]
# Seconds after which something is taken to hang: what works takes less, also where others leave a tenth of a core.
PATIENCE = 600.0
TINY_RECIPE = PictureRecipe(height=32, width=32, edge="short", size=36, kernel="bilinear")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --all."""
    parser.addoption("--all", action="store_true", help="run those that are marked `long`, too")


# Files that take one to five minutes each.
LONGEST = {
    "tests/backbones/sources/test_from_keras.py",
    "tests/faults/test_crash.py",
    "tests/faults/test_kill.py",
    "tests/train/test_finetune.py",
    "tests/ui/test_cli.py",
    "tests/ui/test_ending.py",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, and begin with what takes longest: a file goes to one process."""
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in LONGEST)
    if not config.getoption("--all"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FXENGINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Return name -> folder of real photos; skips the test where they are absent."""

    def find(name: str) -> Path:
        folder = SHARED / name
        if not folder.exists():
            pytest.skip(f"the real photos are not here: {folder}")
        return folder

    return find


@pytest.fixture
def there(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in the folder that a file's own fixture `made` has made; `extract` runs in this very process."""
    monkeypatch.chdir(made)
    monkeypatch.setenv(PARENT, str(os.getppid()))
    return made


def tiny_model(scale: float = 1.0, dim: int = 8) -> onnx.ModelProto:
    """Return a backbone of one 3x3 convolution on 32x32 pictures; features differ in every number."""
    rng = np.random.default_rng(7)
    images, nodes, initializers = prologue(32, 32, Pixels((100.0, 110.0, 120.0), (50.0, 55.0, 60.0)), "x")
    weights = (rng.normal(0, 0.3, (dim, 3, 3, 3)) * scale).astype(np.float32)
    classes = rng.normal(0, 1, (3, dim)).astype(np.float32)
    nodes += [
        helper.make_node("Conv", ["x", "w"], ["map"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["map"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "c"], ["logits"], transB=1),
    ]
    initializers += [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(classes, "c")]
    outputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", dim]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
    ]
    graph = helper.make_graph(nodes, "tiny", [images], outputs, initializers)
    model = make_model(graph)
    facts = Facts(
        name="tiny",
        source="made by the tests",
        licence="none",
        recipe=TINY_RECIPE,
        dim=dim,
        cut="relu",
        pooling="avg",
        parameters=weights.size,
        multiply_adds=weights.size * 32 * 32,
        classes=("red", "green", "blue"),
        class_ids=("r", "g", "b"),
    )
    helper.set_model_props(model, {METADATA_KEY: facts.to_json()})
    return model


@pytest.fixture(scope="module")
def _one_at_a_time() -> Iterator[Served]:
    """A server that answers one request after another: moto's threaded one lets two writers win one key."""
    from tests.buckets import served  # which loads werkzeug

    with pytest.MonkeyPatch.context() as patch, served(patch, threaded=False) as found:
        yield found


@pytest.fixture
def bucket(_one_at_a_time: Served) -> Iterator[Served]:
    """A bucket that is empty."""
    yield _one_at_a_time
    for key in _one_at_a_time.listed():
        _one_at_a_time.delete(key)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BackboneFile:
    """A backbone file that loads and runs in milliseconds."""
    path = tmp_path_factory.mktemp("backbone") / "tiny.onnx"
    write_backbone(tiny_model(), path)
    return read_backbone(path)


@pytest.fixture(scope="session")
def tiny_texts(tmp_path_factory: pytest.TempPathFactory) -> BackboneFile:
    """A backbone of texts that loads and runs in milliseconds."""
    path = tmp_path_factory.mktemp("text_backbone") / "tiny_text.onnx"
    write_backbone(tiny_text_model(), path)
    return read_backbone(path)


def make_photo(path: Path, seed: int, size: tuple[int, int] = (60, 48)) -> Path:
    """Write a smooth random picture that no other seed gives; the suffix chooses the format."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 20 photos in two classes, 10 each."""
    folder = tmp_path / "photos"
    for i in range(20):
        label = "cats" if i % 2 else "dogs"
        make_photo(folder / label / f"{i:02d}.jpg", i)
    return folder


def take_signals() -> None:
    """Undo an inherited "ignore Ctrl-C", which a shell gives to what it starts in the background, and nohup's."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_until(ready: Callable[[], object]) -> None:
    """Wait until something is so, which a busy machine may take long for."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.02)


def run_cli(*arguments: object, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "fxengine", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
