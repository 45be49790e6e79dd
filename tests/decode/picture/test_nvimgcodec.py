"""The GPU decoder with nvImageCodec faked by Pillow: what is asked of it, and what happens where it declines."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fxengine import FeatureStore, extract
from fxengine.backbones.sources.efficientnet_lite import RECIPE
from fxengine.backbones.spec import BackboneFile
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.decode.picture import nvimgcodec
from fxengine.errors import DecodeError, DeviceError
from tests.decode.picture.test_scaled import photo

pytestmark = pytest.mark.faked_gpu


class FakeCodec(ModuleType):
    """Has the calls of nvImageCodec 0.9 that are used; `declines` is how often it decodes nothing."""

    ColorSpec = SimpleNamespace(SRGB="srgb")

    def __init__(self, declines: bool = False) -> None:
        super().__init__("nvidia.nvimgcodec")
        self.declines = declines
        self.asked: list[dict[str, Any]] = []
        outer = self

        class Decoder:
            def decode(self, stream: bytes, *, params: dict[str, Any]) -> Any:
                outer.asked.append(params)
                if outer.declines:
                    return None
                pixels = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
                return SimpleNamespace(cpu=lambda: pixels)

        self.Decoder = Decoder
        self.DecodeParams = lambda **params: params
        self.CodeStream = lambda data: data


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> FakeCodec:
    fake = FakeCodec()
    package = ModuleType("nvidia")
    package.nvimgcodec = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvidia", package)
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", fake)
    monkeypatch.setattr(nvimgcodec, "_local", SimpleNamespace())
    return fake


def pixels(data: bytes, decoder: str) -> np.ndarray:
    out = np.zeros((RECIPE.height, RECIPE.width, 3), np.uint8)
    picture.decode_into(data, picture.read_header(data, Limits()), RECIPE, out, decoder)
    return out


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_picture_is_whole_and_turned_once(codec: FakeCodec, orientation: int) -> None:
    data = photo(603, 405, orientation)
    np.testing.assert_array_equal(pixels(data, "nvimgcodec"), pixels(data, "pillow"))
    assert codec.asked == [{"apply_exif_orientation": False, "color_spec": "srgb"}]


def test_what_it_declines_goes_to_turbojpeg(codec: FakeCodec) -> None:
    codec.declines = True
    data = photo(603, 405)
    np.testing.assert_array_equal(pixels(data, "nvimgcodec"), pixels(data, "turbojpeg"))
    with pytest.raises(DecodeError, match="missing"):
        pixels(data[: len(data) // 2], "nvimgcodec")


def test_a_run_decodes_its_jpegs_by_it_and_the_rest_on_the_cpu(
    codec: FakeCodec, tiny: BackboneFile, photos: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40), "red").save(photos / "cats" / "flat.png")
    extract(photos, tmp_path / "gpu", backbone=tiny.path, decode_on="gpu", decoders=1)
    extract(photos, tmp_path / "cpu", backbone=tiny.path)
    assert len(codec.asked) == 20
    gpu, cpu = (FeatureStore.open(tmp_path / name) for name in ("gpu", "cpu"))
    assert gpu.ids() == cpu.ids()
    assert gpu.provenance.decoder == f"nvImageCodec on the GPU, {cpu.provenance.decoder}"
    np.testing.assert_allclose(gpu.vectors(), cpu.vectors(), rtol=0.02, atol=0.02)


def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tiny: BackboneFile, photos: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia", None)
    monkeypatch.setattr(nvimgcodec, "_local", SimpleNamespace())
    with pytest.raises(DeviceError, match=r"pip install 'fxengine\[gpu-decode\]'"):
        extract(photos, tmp_path / "s", backbone=tiny.path, decode_on="gpu")
