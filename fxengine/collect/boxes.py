"""Lists the boxes in pictures that a file names: COCO's JSON, a CSV, or a folder of labels in YOLO's layout."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fxengine.collect.item import XYWH, Item, Payload, escape_path, unescape_path
from fxengine.collect.stored import read_stored
from fxengine.collect.table import id_columns, read_table, read_text_file
from fxengine.errors import InputError, reason

_NAMED = 5  # missing pictures in a sentence
_FAR = 1e300  # outside of any picture, and further than that is infinity
_NAMES = re.compile(r"^\s*-?\s*(?:(\d+)\s*:\s*)?['\"]?([^'\"\[\]{}:#]+?)['\"]?\s*$")
_SIDES = {
    "x": ("x", "left", "xmin"),
    "y": ("y", "top", "ymin"),
    "width": ("width", "w", "xmax"),
    "height": ("height", "h", "ymax"),
}


class _Box(NamedTuple):
    """Left, top, width and height, in upright pixels or, where `percent`, in hundredths of the picture's edges."""

    x: float
    y: float
    width: float
    height: float
    label: str | None
    percent: bool = False

    def region(self, margin: float) -> str:
        """Return what a W3C media fragment says of it, with so much of its edges more on each side."""
        across, down = margin * self.width, margin * self.height
        sides = (self.x - across, self.y - down, self.width + 2 * across, self.height + 2 * down)
        finite = (max(-_FAR, min(_FAR, side)) for side in sides)
        return ("percent:" if self.percent else "") + ",".join(f"{side:.8g}" for side in finite)


class _Pictures(Protocol):
    root: Path
    unreadable: list[str]

    def __iter__(self) -> Iterator[Item]: ...


@dataclass
class BoxListing:
    """The boxes in the pictures of another listing; iterating yields `Item`s sorted by id, a row a box.

    Attributes:
        pictures: where the pictures are.
        boxes: the file, or folder, of boxes.
        margin: what is taken around a box, as a share of its edges.
        root: that of the pictures.
        labelled: boxes tell labels.
        unreadable: that of the pictures.
        absent: which pictures of boxes are not there, a sentence, or "".
    """

    pictures: _Pictures
    boxes: Path
    margin: float
    labelled: bool = True
    root: Path = field(init=False)
    unreadable: list[str] = field(init=False)
    absent: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.root, self.unreadable = self.pictures.root, self.pictures.unreadable
        self._is_yolo = self.boxes.is_dir()
        found = _in_folder(self.boxes) if self._is_yolo else _in_file(self.boxes)
        if not any(found.values()):
            raise InputError(f"{self.boxes} holds no boxes.")
        missing, items = dict.fromkeys(found), dict[str, Item]()
        for item in self.pictures:
            name = self._name_of(item)
            missing.pop(name, None)
            for box in found.get(name, ()):
                region = f"{XYWH}{box.region(self.margin)}"
                of_box = item._replace(key=item.key + region, source=item.source + region, label=box.label)
                items.setdefault(of_box.key, of_box)  # one that stands there twice is one
        self._items = sorted(items.values(), key=lambda item: item.key.encode())
        if missing:
            named = ", ".join([*missing][:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
            said = "1 picture" if len(missing) == 1 else f"{len(missing)} pictures"
            are = "is" if len(missing) == 1 else "are"
            self.absent = f"{said} that {self.boxes} names {are} not there: {escape_path(named)}"

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def count(self) -> int:
        """Return how many boxes there are."""
        return len(self._items)

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return the part of the picture; raises DecodeError as `stored.read_stored` does."""
        return read_stored(item, max_bytes)

    def _name_of(self, item: Item) -> str:
        """Return what the boxes call a picture: of YOLO's, without its suffix and the folder `images`."""
        path = unescape_path(item.key)
        return path.removeprefix("images/").rpartition(".")[0] if self._is_yolo else path


def _in_file(path: Path) -> dict[str, list[_Box]]:
    """Return picture -> boxes of a .json or a table; raises InputError."""
    if not path.is_file():
        raise InputError(f"There is no file of boxes {path}.")
    if path.suffix.lower() != ".json":
        return _in_table(path)
    try:
        return _in_coco(json.loads(read_text_file(path, str(path))))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        raise InputError(f"{path} is no COCO file with images, annotations and categories: {reason(error)}.") from error


def _in_coco(facts: Any) -> dict[str, list[_Box]]:
    classes = {each["id"]: str(each["name"]) for each in facts.get("categories", ())}
    names: dict[Any, str] = {}
    for number, image in enumerate(facts["images"]):
        with _named(f"image {number} (counted from 0)"):
            if names.setdefault(image["id"], str(image["file_name"])) != str(image["file_name"]):
                raise ValueError(f"two images have the id {image['id']!r:.60}")
    found: dict[str, list[_Box]] = {}
    for number, each in enumerate(facts["annotations"]):
        with _named(f"annotation {number} (counted from 0)"):
            x, y, width, height = _four(each["bbox"])
            if each["image_id"] not in names:
                raise ValueError(f"there is no image with the id {each['image_id']!r:.60}")
            label = classes.get(each.get("category_id"))
            found.setdefault(names[each["image_id"]], []).append(_Box(x, y, width, height, _label(label)))
    return found


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say of which line or entry an error is."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = f"there is no {error}" if isinstance(error, KeyError) else reason(error)
        raise ValueError(f"{what}: {why}") from error


def _four(values: Any) -> list[float]:
    numbers = [_number(value) for value in values]
    if len(numbers) != 4:
        raise ValueError(f"a box has 4 numbers, not {len(numbers)}")
    return numbers


def _in_table(path: Path) -> dict[str, list[_Box]]:
    table, _ = read_table(path)
    lower = {name.lower(): name for name in reversed(table.column_names)}
    columns = {side: next((lower[n] for n in names if n in lower), None) for side, names in _SIDES.items()}
    ids = id_columns(table.column_names)
    if not ids or None in columns.values():
        raise InputError(
            f"{path} needs the columns path, x, y, width and height. It has: {', '.join(table.column_names)}."
        )
    labels = table[lower["label"]].to_pylist() if "label" in lower else [None] * len(table)
    sides = [table[str(columns[side])].to_pylist() for side in _SIDES]
    edges = columns["width"] == lower.get("xmax"), columns["height"] == lower.get("ymax")
    found: dict[str, list[_Box]] = {}
    for record, (name, label, *four) in enumerate(zip(table[ids[0]].to_pylist(), labels, *sides, strict=True)):
        try:
            x, y, width, height = map(_number, four)
        except (ValueError, TypeError) as error:
            raise InputError(f"Record {record} (counted from 0) of {path} has no box: {reason(error)}.") from error
        width, height = width - x * edges[0], height - y * edges[1]
        found.setdefault(str(name), []).append(_Box(x, y, width, height, _label(label)))
    return found


def _in_folder(path: Path) -> dict[str, list[_Box]]:
    """Return picture without suffix -> boxes of a folder `labels` of a .txt each: class, centre, width and height."""
    classes = _classes_beside(path)
    found: dict[str, list[_Box]] = {}
    for file in sorted(path.rglob("*.txt")):
        try:
            boxes = []
            for line, text in enumerate(read_text_file(file, str(file)).decode("utf-8-sig").splitlines(), 1):
                if not text.strip():
                    continue
                with _named(f"line {line}"):
                    number, *four = text.split()
                    x, y, width, height = (100 * side for side in _four(four))
                    label = classes.get(int(number), number)
                boxes.append(_Box(x - width / 2, y - height / 2, width, height, _label(label), percent=True))
        except (ValueError, OSError) as error:
            raise InputError(f"{file} holds no lines of class, x, y, width and height: {reason(error)}.") from error
        found[str(file.relative_to(path).with_suffix(""))] = boxes
    return found


def _classes_beside(path: Path) -> dict[int, str]:
    """Return number -> name of the classes in the .yaml beside the folders `images` and `labels`."""
    for file in sorted([*path.parent.glob("*.yaml"), *path.parent.glob("*.yml")]):
        _, _, behind = read_text_file(file, str(file)).decode(errors="replace").partition("names:")
        first, *lines = behind.splitlines() or [""]
        listed = first.strip().strip("[]").split(",") if "[" in first else lines
        classes: dict[int, str] = {}
        for line in filter(str.strip, listed):
            match = _NAMES.match(line)
            if match is None:
                break
            classes[int(match[1]) if match[1] else len(classes)] = match[2].strip()
        if classes:
            return classes
    return {}


def _number(value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{str(value)[:60]} is no number of pixels")
    return number


def _label(value: Any) -> str | None:
    return None if value is None or value == "" else escape_path(str(value))
