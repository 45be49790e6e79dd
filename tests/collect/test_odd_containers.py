"""Containers and files of boxes that are damaged, hostile or merely odd: each is read, or refused in a sentence."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxengine.collect import collect
from fxengine.collect.boxes import BoxListing
from fxengine.collect.item import Crop
from fxengine.collect.stored import ensure_named, read_place
from fxengine.errors import DecodeError, InputError
from fxengine.trust import name_pictures
from tests.places import photos_in, tar_of

MOST = 1 << 24


@pytest.fixture
def photo(photos: Path) -> bytes:
    return photos_in(photos)[0].read_bytes()


def zip_of(to: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(to, "w") as out:
        for name, data in members.items():
            out.writestr(name, data)
    return to


def header(name: bytes, kind: bytes, size: bytes) -> bytes:
    """Return a header of GNU tar; `size` as it stands in its field."""
    block = bytearray(512)
    block[: len(name)], block[124 : 124 + len(size)] = name, size
    block[100:107], block[156:157], block[257:265], block[148:156] = b"0000644", kind, b"ustar  \0", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def test_a_member_that_is_called_like_a_box_is_that_member(tmp_path: Path, photo: bytes) -> None:
    name = "a.jpg#xywh=1,1,50,50"
    for path in (
        zip_of(tmp_path / "a.zip", {"a.jpg": photo, name: b"of its own"}),
        tar_of(tmp_path / "a.tar", [("a.jpg", photo), (name, b"of its own")]),
    ):
        assert read_place(path / name, MOST)[0] == b"of its own"
        assert read_place(path / "a.jpg#xywh=1,1,50,51", MOST)[0] == Crop(photo, "1,1,50,51")


def test_sizes_that_no_store_holds_are_a_row_that_is_too_large(tmp_path: Path, photo: bytes) -> None:
    data = bytearray(zip_of(tmp_path / "a.zip", {"a.jpg": photo}).read_bytes())
    at, extra = data.find(b"PK\1\2"), struct.pack("<HHQQ", 1, 16, 2**64 - 5, 2**64 - 5)
    struct.pack_into("<II", data, at + 20, 2**32 - 1, 2**32 - 1)
    struct.pack_into("<H", data, at + 30, len(extra))
    data[at + 46 + 5 : at + 46 + 5] = extra
    end = data.find(b"PK\5\6")
    struct.pack_into("<I", data, end + 12, end - at)
    (tmp_path / "a.zip").write_bytes(data)
    (item,) = collect(tmp_path / "a.zip")
    assert item.size == 2**63 - 1
    with pytest.raises(DecodeError, match=r"^9223372036854775807 bytes"):
        read_place(item.source, MOST)


def test_names_that_climb_ask_for_folders_that_can_be_noted(tmp_path: Path, photo: bytes) -> None:
    (item,) = collect(tar_of(tmp_path / "a.tar", [("../x/a.jpg", photo)]))
    name_pictures(tmp_path)
    ensure_named(str(tmp_path), [item.key])
    with pytest.raises(InputError, match="from which you did not extract"):
        ensure_named(str(tmp_path.parent / "elsewhere"), [item.key])


def test_members_with_names_that_no_file_has_are_left_out_and_told(tmp_path: Path, photo: bytes) -> None:
    listing = collect(tar_of(tmp_path / "a.tar", [("a/" * 1_000_000 + "x.jpg", photo), ("good.jpg", photo)]))
    assert [item.key for item in listing] == ["a.tar/good.jpg"]
    assert listing.unreadable == [f"{tmp_path}/a.tar has 1 members whose names no file can have, which are left out"]
    listing = collect(zip_of(tmp_path / "a.zip", {"a/" * 3000 + "x.jpg": photo, "good.jpg": photo}))
    assert [item.key for item in listing] == ["a.zip/good.jpg"]
    assert len(listing.unreadable) == 1


def test_a_tars_header_of_a_size_that_is_not_there_ends_it(tmp_path: Path, photo: bytes) -> None:
    good = header(b"good.jpg", b"0", b"%011o" % len(photo)) + padded(photo)
    bad = header(b"././@LongLink", b"L", b"\x80" + (2**60).to_bytes(11, "big")) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(good + bad)
    listing = collect(tmp_path / "a.tar")
    assert [item.key for item in listing] == ["a.tar/good.jpg"]
    assert listing.unreadable == [f"{tmp_path}/a.tar is cut short or damaged behind its 1 first members"]
    (tmp_path / "a.tar").write_bytes(bad)
    with pytest.raises(InputError, match="a header is longer than the file"):
        collect(tmp_path / "a.tar")


def test_headers_of_headers_are_refused_in_a_sentence(tmp_path: Path) -> None:
    nested = (header(b"x", b"x", b"%011o" % 20) + padded(b"20 path=abcdefghijk\n")) * 1000
    (tmp_path / "a.tar").write_bytes(nested + bytes(1024))
    with pytest.raises(InputError, match=r"a\.tar is no tar that can be read: its headers have too many headers\.$"):
        collect(tmp_path / "a.tar")


@pytest.mark.parametrize("odd", ["a version", "a name"])
def test_one_odd_entry_does_not_refuse_a_zip(tmp_path: Path, photo: bytes, odd: str) -> None:
    data = bytearray(zip_of(tmp_path / "a.zip", {"é.jpg": photo, "b.jpg": photo}).read_bytes())
    if odd == "a version":
        data[data.find(b"PK\1\2") + 6] = data[4] = 99
    (tmp_path / "a.zip").write_bytes(data if odd == "a version" else data.replace("é".encode(), b"\xe9\xe9"))
    listing = collect(tmp_path / "a.zip")
    items = [*listing]
    assert len(items) == 2
    assert listing.read(items[0], MOST)[0] == photo
    if odd == "a version":
        assert listing.read(items[1], MOST)[0] == photo
    else:
        with pytest.raises(DecodeError, match="cannot be unpacked"):
            listing.read(items[1], MOST)


def test_an_archive_of_nothing_but_texts_holds_no_picture(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {f"{i}.txt": b"" for i in range(100)})
    with pytest.raises(InputError, match=r"a\.zip holds no picture, but texts .* backbone of texts"):
        collect(path)
    assert collect(path, modality="text").count() == 100


def test_what_webdatasets_jsons_say(tmp_path: Path, photo: bytes) -> None:
    facts = [b'\xef\xbb\xbf{"label":"cat"}', b'{"label":null,"cls":3}', b'{"label":1.0,"cls":3}']
    facts += [b'{"label":true,"cls":"dog"}', b'{"label":false}', b'{"label":1.5,"class":"x"}']
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [(f"{i}.json", each) for i, each in enumerate(facts)]
    members += [(f"{i}.jpg", photo) for i in range(len(facts))]
    members += [("n.jpg", photo), ("n.output.cls", b"5"), ("m.output.jpg", photo), ("m.cls", b"6")]
    found = [(item.key, item.label) for item in collect(tar_of(tmp_path / "a.tar", members))]
    labels = ["cat", "3", "1", "dog", "False", "x"]
    expected = [(f"a.tar/{i}.jpg", label) for i, label in enumerate(labels)]
    assert found == [*expected, ("a.tar/m.output.jpg", "6"), ("a.tar/n.jpg", "5")]


def test_columns_that_are_called_alike_are_named(tmp_path: Path, photo: bytes) -> None:
    images, texts = pa.array([photo, photo]), pa.array(["a", "b"])
    for names, columns in (
        (["image", "label", "label"], [images, texts, texts]),
        (["image", "image"], [images, images]),
    ):
        pq.write_table(pa.table(columns, names=names), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=f"two columns that are called '{names[-1]}'"):
            collect(tmp_path / "a.parquet")


def test_a_label_of_many_digits_is_a_label(tmp_path: Path, photo: bytes) -> None:
    pq.write_table(pa.table({"image": [photo], "label": ["9" * 5000]}), tmp_path / "a.parquet")
    assert [item.label for item in collect(tmp_path / "a.parquet")] == ["9" * 5000]


@pytest.mark.parametrize("kind", ["null first", "view", "dictionary", "struct of null"])
def test_columns_of_bytes_of_every_kind_are_pictures(tmp_path: Path, photo: bytes, kind: str) -> None:
    made = {
        "null first": lambda: pa.array([None] * 70 + [photo]),
        "view": lambda: pa.array([photo, b"x", photo], pa.binary_view()),
        "dictionary": lambda: pa.array([photo, photo, photo]).dictionary_encode(),
        "struct of null": lambda: pa.array(
            [None, {"bytes": None}, {"bytes": photo}], pa.struct({"bytes": pa.binary()})
        ),
    }[kind]()
    pq.write_table(pa.table({"image": made}), tmp_path / "a.parquet", row_group_size=50)
    items = [*collect(tmp_path / "a.parquet")]
    assert len(items) == len(made)
    assert read_place(items[-1].source, MOST)[0] == photo
    if "null" in kind:
        with pytest.raises(DecodeError, match="holds no bytes"):
            read_place(items[0].source, MOST)


def test_rows_of_a_group_are_read_in_any_order(tmp_path: Path) -> None:
    values = [b"\xff\xd8\xff%d" % i for i in range(300)]
    pq.write_table(pa.table({"image": values}), tmp_path / "a.parquet", row_group_size=150)
    items = [*collect(tmp_path / "a.parquet")]
    order = [*range(0, 300, 7), *reversed(range(300)), 5, 299, 5]
    assert [read_place(items[i].source, MOST)[0] for i in order] == [values[i] for i in order]


READ = """
import resource, sys
from fxengine.collect import collect
listing = collect(sys.argv[1])
items = [*listing]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for item in items[::50]:
    assert len(listing.read(item, 1 << 30)[0]) == 1 << 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_row_group_that_unpacks_to_gigabytes_is_read_in_bounded_memory(tmp_path: Path) -> None:
    value = b"\xff\xd8\xff" + bytes((1 << 20) - 3)
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array([value]))
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet", compression="none", store_schema=False)
    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path / "a.parquet"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) << 10 < 250e6


def coco_of(path: Path, images: list[object], annotations: list[object]) -> Path:
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


@pytest.mark.parametrize(
    ("images", "annotations", "said"),
    [
        ([(1, "a.jpg"), (1, "b.jpg")], [], r"image 1 \(counted from 0\): two images have the id 1"),
        ([(1, "a.jpg")], [(1, [1, 1, 9, 9]), (1, [1, 2, 3])], r"annotation 1 .*: a box has 4 numbers, not 3"),
        ([(1, "a.jpg")], [(2, [1, 1, 9, 9])], r"annotation 0 .*: there is no image with the id 2"),
        ([(1, "a.jpg")], [(1, [10**400, 1, 9, 9])], r"annotation 0 .*: 10{59} is no number of pixels"),
    ],
)
def test_coco_names_what_is_wrong(
    photos: Path, tmp_path: Path, images: list[tuple[int, str]], annotations: list[tuple[int, list[int]]], said: str
) -> None:
    path = coco_of(
        tmp_path / "b.json",
        [{"id": number, "file_name": name} for number, name in images],
        [{"image_id": number, "bbox": box} for number, box in annotations],
    )
    with pytest.raises(InputError, match=said):
        collect(photos, boxes=path)


def test_yolo_names_the_line_of_a_polygon(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .2 .2\n\n0 .1 .1 .2 .2 .3 .3 .4 .4\n")
    with pytest.raises(InputError, match=r"a\.txt .*: line 3: a box has 4 numbers, not 8"):
        collect(photos, boxes=tmp_path / "labels")


def test_a_tables_corners_are_boxes(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("path,xmin,ymin,xmax,ymax,label\ncats/01.jpg,10,12,40,44,x\n")
    assert [item.key for item in collect(photos, boxes=tmp_path / "b.csv")] == ["cats/01.jpg#xywh=10,12,30,32"]


def test_numbers_of_any_size_stay_boxes(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(
        "path,x,y,width,height\n" + "".join(f"cats/01.jpg,{x},1,20,20\n" for x in (1e-200, 1e308))
    )
    listing = collect(photos, boxes=tmp_path / "b.csv", margin=10)
    assert isinstance(listing, BoxListing)
    assert all(isinstance(listing.read(item, MOST)[0], Crop) for item in listing)
    assert listing.count() == 2
