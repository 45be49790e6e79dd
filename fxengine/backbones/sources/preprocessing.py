"""What a net wants done to a picture, as its user or a file beside it says; never guessed.

Flags come before a JSON file that the user names, and that before `preprocessor_config.json` or
`processor_config.json` (Hugging Face), `config.json` (timm) or `preprocess_cfg.json` (open_clip) beside the model. Each
may state a part: the pixels, the resize, or the size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from fxengine.backbones.graph.prologue import Pixels, Three
from fxengine.backbones.json_file import object_in
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import Kernel, PictureRecipe
from fxengine.errors import InputError

Size = tuple[int, int]
Beside = Path | tuple[Path, ...]
STATES_PIXELS = (
    "preprocessor_config.json",
    "processor_config.json",
    "config.json",
    "preprocess_cfg.json",
    "open_clip_config.json",
)
_PIL_KERNELS: dict[int, Kernel] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
_OWN = ("size", "channels", "scale", "mean", "std", "resize")
_DEFAULT_CROP = 0.875  # short edge 256 for a cut of 224, as most ImageNet nets were tested


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes what the net takes.

    Attributes:
        recipe: from a picture to uint8 pixels.
        mean: in pixel levels (0 to 255), in the net's channel order.
        std: in pixel levels, in the net's channel order.
        bgr: whether the net wants blue first.
        source: who said so.
    """

    recipe: PictureRecipe
    mean: Three
    std: Three
    bgr: bool
    source: str

    @property
    def pixels(self) -> Pixels:
        """What the net takes."""
        return Pixels(self.mean, self.std, self.bgr)


@dataclass(frozen=True)
class _Resize:
    edge: Literal["short", "long", "both"]
    length: int | None = None
    kernel: Kernel = "bilinear"
    rounding: Literal["nearest", "torchvision", "down"] = "nearest"
    pad_color: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class _Stated:
    """What one source states; None where it is silent."""

    size: Size | None = None
    channels: str | None = None
    scale: float | None = None
    mean: Three | None = None
    std: Three | None = None
    resize: _Resize | None = None


def prepare(options: ExportOptions, net_size: tuple[int | None, int | None], beside: Beside) -> Preparation:
    """Return the preprocessing of a net whose input is `net_size` (height, width; None where it is open).

    Args:
        options: flags, and the JSON file that the user names.
        net_size: what the net's input says.
        beside: the model's own folder, where a configuration may lie, or the files that may be one.

    Raises:
        InputError: it is not stated, contradicts itself or the net, or cannot be done.
    """
    flags = _from_flags(options)
    file = preprocessing_file(options, beside)
    base = _Stated() if file is None else _from_file(file, skip_resize=flags.resize is not None)
    both = _merge(flags, base)
    if both.scale is None and both.mean is None and both.std is None:
        raise InputError(
            "How the net wants its pixels is not stated, and a guess would give wrong features silently: give `scale` "
            "(1 for 0 to 255), `mean`, `std` and `channels`, or a JSON file as `preprocess`."
        )
    sources = (["flags"] if flags != _Stated() else []) + ([file.name] if file else [])
    return _finish(both, _input_size(both.size, net_size), " over ".join(sources))


def preprocessing_file(options: ExportOptions, beside: Beside) -> Path | None:
    """Return the JSON file that states the preprocessing: the one that the user names, else one beside the model."""
    if options.preprocess is not None:
        if not options.preprocess.is_file():
            raise InputError(f"There is no preprocessing file {options.preprocess}.")
        return options.preprocess
    named = [beside / name for name in STATES_PIXELS] if isinstance(beside, Path) else beside
    return next((path for path in named if path.is_file() and _parser(object_in(path)) is not None), None)


def _from_flags(options: ExportOptions) -> _Stated:
    resize = None if options.resize is None else _parse_resize(options.resize)
    return _Stated(options.size, options.channels, options.scale, options.mean, options.std, resize)


def _from_file(path: Path, *, skip_resize: bool) -> _Stated:
    values = object_in(path)
    parse = _parser(values)
    if parse is None:
        raise InputError(
            f"{path} states no preprocessing: it is neither Hugging Face's preprocessor_config.json, nor timm's "
            f"config.json, nor open_clip's preprocess_cfg, nor has it the keys {', '.join(_OWN)}."
        )
    try:
        return parse(values, skip_resize)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except KeyError as error:
        raise InputError(f"{path} does not state {error}: add it, or give it by itself (`resize`, `mean`).") from error
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise InputError(f"{path} is not in the form that fxengine knows: {error}.") from error


def _parser(values: dict[str, Any]) -> Callable[[dict[str, Any], bool], _Stated] | None:
    """Return what reads such a file; None where the file is about something else."""
    if {"preprocess_cfg", "resize_mode"} & set(values):
        return _from_open_clip
    hugging = {"image_mean", "do_resize", "do_rescale", "do_normalize", "image_processor_type", "image_processor"}
    if hugging & set(values):
        return _from_hugging_face
    if "pretrained_cfg" in values or {"input_size", "interpolation"} <= set(values):
        return _from_timm
    if {"resize_size", "crop_size"} <= set(values):
        return _from_torchvision
    return _from_own if values and set(values) <= set(_OWN) else None


def _from_own(values: dict[str, Any], skip_resize: bool) -> _Stated:
    size = values.get("size")
    if isinstance(size, int):
        size = [size, size]
    channels = values.get("channels")
    if channels not in (None, "rgb", "bgr"):
        raise InputError(f"channels is {channels!r}: it is rgb or bgr.")
    return _Stated(
        size=None if size is None else (int(size[0]), int(size[1])),
        channels=channels,
        scale=None if values.get("scale") is None else float(values["scale"]),
        mean=_three(values, "mean"),
        std=_three(values, "std"),
        resize=None if skip_resize or "resize" not in values else _parse_resize(values["resize"]),
    )


def _three(values: dict[str, Any], key: str) -> Three | None:
    if key not in values:
        return None
    found = values[key]
    if not isinstance(found, list | tuple) or len(found) != 3:
        raise InputError(f"{key} is {found!r}: it takes three numbers, one a colour.")
    return float(found[0]), float(found[1]), float(found[2])


def _parse_resize(text: str) -> _Resize:
    edge, *rest = text.lower().split(":")
    length, kernel = None, "bilinear"
    if rest and rest[0].isdecimal():
        length = int(rest.pop(0))
    if rest:
        kernel = rest.pop(0)
    if edge not in ("short", "long", "squash") or kernel not in get_args(Kernel) or rest or length == 0:
        raise InputError(
            f"`resize` {text!r} is not understood: give short, long or squash, then an edge length and a kernel "
            f"({', '.join(get_args(Kernel))}) where wanted, as in short:256:bicubic."
        )
    if edge == "squash" and length is not None:
        raise InputError(f"`resize` {text!r}: squash goes straight to the input size and takes no length (see `size`).")
    return _Resize("both" if edge == "squash" else edge, length, kernel)  # type: ignore[arg-type]  # checked above


def _from_hugging_face(values: dict[str, Any], skip_resize: bool) -> _Stated:
    values = values.get("image_processor", values)  # beside a tokenizer's, as transformers 5 saves pairs
    if "max_num_patches" in values:
        raise InputError("its pictures have no fixed size (NaFlex), and a backbone's have: take a fixed-size variant.")
    for key in ("rescale_offset", "do_pad"):
        if values.get(key):
            raise InputError(f"it asks for {key}, which fxengine cannot do.")
    scale = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    normalise = values.get("do_normalize", "image_mean" in values)
    resize, size = _hugging_face_frame(values, skip_resize)
    return _Stated(
        size=size,
        channels="bgr" if values.get("do_flip_channel_order") else "rgb",
        scale=float(scale),
        mean=_required_three(values, "image_mean") if normalise else None,
        std=_required_three(values, "image_std") if normalise else None,
        resize=resize,
    )


def _required_three(values: dict[str, Any], key: str) -> Three:
    values[key]  # raises KeyError
    found = _three(values, key)
    assert found is not None
    return found


def _hugging_face_frame(values: dict[str, Any], skip_resize: bool) -> tuple[_Resize | None, Size | None]:
    crop = _pair(values["crop_size"]) if values.get("do_center_crop") else None
    size = values.get("size")
    if skip_resize or not values.get("do_resize", True):
        fixed = isinstance(size, int) or (isinstance(size, dict) and "height" in size)
        return None, crop or (_pair(values["size"]) if fixed else None)
    kernel = _PIL_KERNELS[int(values["resample"])]
    if isinstance(size, dict) and "shortest_edge" in size:
        short = int(size["shortest_edge"])
        if "crop_pct" in values:
            return _convnext(short, values["crop_pct"], kernel)
        if crop is None:
            raise InputError(
                "its resize keeps the aspect ratio and nothing is cut, so the size is open: give `resize`."
            )
        return _Resize("short", short, kernel, "down"), crop
    if isinstance(size, int) and crop is not None:
        return _Resize("short", size, kernel, "down"), crop
    squashed = _pair(values["size"])
    if crop not in (None, squashed):
        raise InputError(f"it squashes to {squashed} and then cuts {crop}, which fxengine cannot do: give `resize`.")
    return _Resize("both", None, kernel, "torchvision"), squashed


def _convnext(short: int, crop_pct: float, kernel: Kernel) -> tuple[_Resize, Size]:
    """Return ConvNeXT's own rule: small inputs are cut out of a larger resize, large ones are squashed."""
    if short >= 384:
        return _Resize("both", None, kernel, "torchvision"), (short, short)
    return _Resize("short", int(short / crop_pct), kernel, "down"), (short, short)


def _pair(size: int | dict[str, int]) -> Size:
    if isinstance(size, int):
        return size, size
    return int(size["height"]), int(size["width"])


def _from_timm(values: dict[str, Any], skip_resize: bool) -> _Stated:
    values = values.get("pretrained_cfg", values)
    channels, height, width = (int(n) for n in values["input_size"])
    if channels != 3:
        raise InputError(f"input_size has {channels} channels: a photo has 3.")
    mean, std = _required_three(values, "mean"), _required_three(values, "std")
    resize = None if skip_resize else _timm_resize(values, (height, width), mean)
    return _Stated((height, width), "rgb", 1 / 255, mean, std, resize)


def _timm_resize(values: dict[str, Any], size: Size, mean: Three) -> _Resize:
    kernel, part = values["interpolation"], float(values["crop_pct"])
    mode = values.get("crop_mode") or "center"
    length = math.floor(size[0] / part)
    if kernel not in get_args(Kernel):
        raise InputError(f"interpolation {kernel!r} is not one that fxengine has: give `resize`.")
    if mode == "squash" and length == size[0]:
        return _Resize("both", None, kernel, "torchvision")
    if mode == "squash" or mode not in ("center", "border") or size[0] != size[1]:
        raise InputError(
            f"crop_mode {mode!r} with crop_pct {part} to {size} is not one that fxengine has: give `resize`."
        )
    if mode == "center":
        return _Resize("short", length, kernel, "torchvision")
    red, green, blue = (round(255 * value) for value in mean)
    return _Resize("long", length, kernel, "torchvision", (red, green, blue))


def _from_torchvision(values: dict[str, Any], skip_resize: bool) -> _Stated:
    """Return what torchvision's `ImageClassification` does, its arguments as JSON."""
    height, width = (int(edge) for edge in values["crop_size"])
    mean, std = _required_three(values, "mean"), _required_three(values, "std")
    (length,) = values["resize_size"]
    resize = None if skip_resize else _Resize("short", int(length), values["interpolation"], "torchvision")
    return _Stated((height, width), "rgb", 1 / 255, mean, std, resize)


def _from_open_clip(values: dict[str, Any], skip_resize: bool) -> _Stated:
    """Return what open_clip's `preprocess_cfg` states, by itself or in its `open_clip_config.json`."""
    values = values.get("preprocess_cfg", values)
    size = values["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if values.get("mode", "RGB") != "RGB":
        raise InputError(f"mode is {values['mode']!r}: pictures are RGB here.")
    mean, std = _required_three(values, "mean"), _required_three(values, "std")
    resize = None if skip_resize else _open_clip_resize(values, (height, width))
    return _Stated((height, width), "rgb", 1 / 255, mean, std, resize)


def _open_clip_resize(values: dict[str, Any], size: Size) -> _Resize:
    kernel, mode = values.get("interpolation", "bicubic"), values.get("resize_mode", "shortest")
    if kernel not in get_args(Kernel):
        raise InputError(f"interpolation {kernel!r} is not one that fxengine has: give `resize`.")
    if mode == "squash":
        return _Resize("both", None, kernel, "torchvision")
    if mode not in ("shortest", "longest") or size[0] != size[1]:
        raise InputError(f"resize_mode {mode!r} to {size} is not one that fxengine has: give `resize`.")
    if mode == "shortest":
        return _Resize("short", size[0], kernel, "torchvision")
    level = values.get("fill_color", 0)
    red, green, blue = [level] * 3 if isinstance(level, int) else (int(each) for each in level)
    return _Resize("long", size[0], kernel, "torchvision", (red, green, blue))


def _merge(flags: _Stated, base: _Stated) -> _Stated:
    """Return both, the flags first.

    An edge length that came with another size keeps its ratio to it, and means that came with another channel order
    stay with their colours.
    """
    resize = base.resize
    if flags.size and base.size and resize is not None and resize.length:
        resize = replace(resize, length=round(resize.length * min(flags.size) / min(base.size)))
    base = replace(base, resize=resize)
    if flags.channels and base.channels and flags.channels != base.channels:
        base = replace(base, mean=_reversed(base.mean), std=_reversed(base.std))
    given = {f.name: getattr(flags, f.name) for f in fields(flags) if getattr(flags, f.name) is not None}
    return replace(base, **given)


def _reversed(values: Three | None) -> Three | None:
    return None if values is None else (values[2], values[1], values[0])


def _input_size(stated: Size | None, net: tuple[int | None, int | None]) -> Size:
    result = []
    for i, name in enumerate(("height", "width")):
        wanted = stated[i] if stated else None
        if wanted is not None and net[i] is not None and wanted != net[i]:
            raise InputError(f"The net's input has {name} {net[i]}, but the preprocessing says {wanted}: see `size`.")
        found = net[i] if wanted is None else wanted
        if found is None:
            raise InputError(f"The net leaves the {name} of its input open: give `size` (224, or 224 192 for H W).")
        result.append(found)
    return result[0], result[1]


def _finish(stated: _Stated, size: Size, source: str) -> Preparation:
    scale = 1.0 if stated.scale is None else float(stated.scale)
    mean, std = stated.mean or (0.0, 0.0, 0.0), stated.std or (1.0, 1.0, 1.0)
    if not all(map(math.isfinite, (scale, *mean, *std))) or scale == 0 or 0 in std:
        raise InputError(f"scale {scale}, mean {mean} and std {std} must be finite, scale and std not zero.")
    resize = stated.resize or _Resize("short")
    edges = {"short": round(max(size) / _DEFAULT_CROP), "long": max(size), "both": max(size)}
    length = resize.length or edges[resize.edge]
    recipe = PictureRecipe(
        *size, resize.edge, length, resize.kernel, rounding=resize.rounding, pad_color=resize.pad_color
    )
    # pixel * scale - mean over std, said in pixel levels
    return Preparation(recipe, _divided(mean, scale), _divided(std, scale), stated.channels == "bgr", source)


def _divided(values: Sequence[float], by: float) -> Three:
    first, second, third = (value / by for value in values)
    return first, second, third
