"""Over every decoder in the table: what Pillow makes of a JPEG is what each of them must make of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.decode.picture import Decoder, Header, Picture, load_decoder, nvimgcodec, pillow, turbojpeg
from fxengine.decode.picture.formats import upright_size
from fxengine.decode.picture.geometry import upright
from fxengine.errors import DecodeError, InputError

# nvImageCodec needs a GPU; with one faked it is tested in test_nvimgcodec.py.
# Checked by mypy: each module is what the table says it is.
MODULES: dict[str, Decoder] = {"nvimgcodec": nvimgcodec, "pillow": pillow, "turbojpeg": turbojpeg}
ALL = pytest.mark.parametrize("name", sorted(set(picture.DECODERS) - {"nvimgcodec"}))
ORIENTATION = 0x0112
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)


def seen(picture: Picture) -> tuple[int, int]:
    height, width = picture.pixels.shape[:2]
    return upright_size(width, height, picture.orientation)


def smooth(size: tuple[int, int] = (101, 67), mode: str = "RGB") -> Image.Image:
    """A picture of which no two corners are alike."""
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC).convert(mode)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return jpeg(smooth(), exif=exif)


def pillows(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def pillows_upright(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def decoded(name: str, data: bytes) -> tuple[Header, Picture]:
    module = load_decoder(name)
    header: Header = module.read_header(data, "JPEG")
    picture: Picture = module.decode(data, header)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (header.height, header.width, 3)
    return header, picture


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())


JPEGS: dict[str, Callable[[], bytes]] = {
    "baseline": lambda: jpeg(smooth()),
    "progressive": lambda: jpeg(smooth(), progressive=True),
    "4:4:4": lambda: jpeg(smooth(), subsampling=0),
    "4:2:2": lambda: jpeg(smooth(), subsampling=1),
    "4:2:0": lambda: jpeg(smooth(), subsampling=2),
    "low quality": lambda: jpeg(smooth(), quality=5),
    "grey": lambda: jpeg(smooth(mode="L")),
    "one pixel": lambda: jpeg(smooth((1, 1))),
    "one row": lambda: jpeg(smooth((999, 1))),
    "one column": lambda: jpeg(smooth((1, 999))),
    "restart markers": lambda: jpeg(smooth(), restart_marker_blocks=2),
    "stored as RGB": lambda: jpeg(smooth(), keep_rgb=True),
    "bytes after the end": lambda: jpeg(smooth()) + b"\0trailing" * 100,
    "comment": lambda: jpeg(smooth(), comment=b"Exif\0\0 in a comment"),
}


@ALL
@pytest.mark.parametrize("kind", JPEGS)
def test_pixels_are_those_of_pillow(name: str, kind: str) -> None:
    data = JPEGS[kind]()
    header, picture = decoded(name, data)
    reference = pillows(data)
    assert (header.format, header.height, header.width) == ("JPEG", *reference.shape[:2])
    assert header.memory >= 2 * reference.size
    assert picture.orientation == 1
    assert difference(picture.pixels, reference) <= 1.0


@ALL
@pytest.mark.slow
def test_real_photos_are_those_of_pillow(name: str, shared_data: Callable[[str], Path]) -> None:
    paths = sorted(shared_data("imagenet_500").iterdir())[::8][:60]
    assert len(paths) == 60
    differences = {}
    for path in paths:
        data = path.read_bytes()
        differences[path.name] = difference(decoded(name, data)[1].pixels, pillows(data))
    assert {file: value for file, value in differences.items() if value > 1.0} == {}


@ALL
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_set_upright(name: str, orientation: int) -> None:
    data = turned(orientation)
    _, picture = decoded(name, data)
    reference = pillows_upright(data)
    assert picture.orientation == orientation
    assert seen(picture) == reference.shape[1::-1] == ((67, 101) if orientation >= 5 else (101, 67))
    assert difference(upright(picture.pixels, picture.orientation), reference) <= 1.0


@ALL
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_into_writes_the_picture_upright(name: str, orientation: int) -> None:
    data = turned(orientation)
    reference = pillows_upright(data)
    height, width = reference.shape[:2]
    recipe = PictureRecipe(height, width, "both", 1, "bilinear")
    out = np.full((height, width, 3), 77, np.uint8)
    header = picture.read_header(data, Limits(), decoder=name)
    assert picture.decode_into(data, header, recipe, out, decoder=name) == (width, height)
    assert difference(out, reference) <= 1.0


@ALL
@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_upright(name: str, value: int) -> None:
    assert decoded(name, turned(value))[1].orientation == 1


@ALL
def test_an_orientation_in_xmp_counts(name: str) -> None:
    assert decoded(name, jpeg(smooth(), xmp=XMP.format(6).encode()))[1].orientation == 6


@ALL
@pytest.mark.slow
def test_turned_photos_are_set_upright(name: str, shared_data: Callable[[str], Path]) -> None:
    paths = sorted(shared_data("odd_images").glob("exif-orientation__*.jpg"))
    assert len(paths) == 18
    for path in paths:
        data = path.read_bytes()
        _, picture = decoded(name, data)
        reference = pillows_upright(data)
        # All 9 of a kind show the same scene, so that a wrong turn shows in the shape or in the pixels.
        assert (reference.shape[1] > reference.shape[0]) == ("Landscape" in path.name)
        assert seen(picture) == reference.shape[1::-1], path.name
        assert difference(upright(picture.pixels, picture.orientation), reference) <= 1.0, path.name


@ALL
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_picture_is_an_error(name: str, progressive: bool, part: float) -> None:
    data = jpeg(smooth((400, 300)), progressive=progressive)
    cut = data[: int(len(data) * part)]
    with pytest.raises(DecodeError) as raised:
        decoded(name, cut)
    assert raised.value.code == "truncated"
    assert str(raised.value).endswith(".")


@ALL
@pytest.mark.parametrize("quality", [60, 95])
def test_cmyk_is_converted_as_pillow_does(name: str, quality: int) -> None:
    data = jpeg(smooth(mode="CMYK"), quality=quality)
    _, picture = decoded(name, data)
    assert difference(picture.pixels, pillows(data)) <= 1.0
    assert difference(picture.pixels, np.asarray(smooth())) <= 12  # and it is no negative


@ALL
@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0" + b"\0" * 60, b"\xff\xd8\xff" + b"text" * 50])
def test_what_only_begins_as_a_jpeg_is_an_error(name: str, data: bytes) -> None:
    with pytest.raises(DecodeError) as raised:
        decoded(name, data)
    assert raised.value.code in ("truncated", "corrupt")


@ALL
def test_the_input_is_left_as_it_is(name: str) -> None:
    data = turned(6)
    before = bytes(bytearray(data))
    first = decoded(name, data)[1].pixels
    np.testing.assert_array_equal(first, decoded(name, data)[1].pixels)
    assert data == before


def test_an_unknown_decoder_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"There is no decoder 'magick'\. Available: nvimgcodec, pillow, turbojpeg\."):
        load_decoder("magick")


def test_the_libraries_are_named_with_their_versions() -> None:
    found = picture.versions()
    assert {"simplejpeg", "pillow", "pillow-heif"} <= set(found)
    assert found["pillow"] == PIL.__version__


def test_every_decoder_is_checked_here() -> None:
    assert MODULES.keys() == picture.DECODERS.keys()
