"""Pictures in containers: what is listed, read again by its place, and refused."""

from __future__ import annotations

import gzip
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxengine.collect import collect
from fxengine.collect.item import TextColumns
from fxengine.collect.stored import read_place, stat_place, stored_path
from fxengine.errors import DecodeError, InputError
from tests.places import MAKERS, in_parquet, in_tar, in_zip, photos_in, tar_of

MOST = 1 << 24
containers = pytest.mark.parametrize("name", sorted(MAKERS))


@pytest.fixture
def box(tmp_path: Path) -> Path:
    folder = tmp_path / "box"
    folder.mkdir()
    return folder


@containers
def test_a_container_gives_the_bytes_of_its_photos_in_the_order_of_ids(photos: Path, box: Path, name: str) -> None:
    path = MAKERS[name](photos, box / name)
    listing = collect(path)
    items = [*listing]
    keys = [item.key for item in items]
    assert keys == sorted(keys, key=str.encode)
    assert listing.root == box
    expected = {f"{p.relative_to(photos)}": p for p in photos_in(photos)}
    if name == "a.parquet":
        expected = {f"{number:09d}": p for number, p in enumerate(photos_in(photos))}
    assert keys == [f"{name}/{key}" for key in expected]
    for item, original in zip(items, expected.values(), strict=True):
        payload, read = listing.read(item, MOST)
        assert payload == original.read_bytes()
        assert read == item
        assert item.label == original.parent.name
        assert item.mtime_ns == path.stat().st_mtime_ns
        place = stored_path(str(box), item.key)
        assert read_place(place, MOST)[0] == payload
        again = stat_place(item.key, place)
        assert (again.size, again.mtime_ns) == (item.size, item.mtime_ns)


def test_a_folder_is_listed_with_what_is_in_its_containers_where_that_is_asked_for(photos: Path, box: Path) -> None:
    in_tar(photos, box / "b.tar")
    in_zip(photos, box / "a.zip")
    in_parquet(photos, box / "train-00000-of-00001.parquet")
    (box / "b.tar.txt").write_text("a note")
    (box / "plain.jpg").write_bytes(photos_in(photos)[0].read_bytes())
    assert [item.key for item in collect(box)] == [
        "a.zip",
        "b.tar",
        "b.tar.txt",
        "plain.jpg",
        "train-00000-of-00001.parquet",
    ]
    opened = collect(box, containers=True)
    items = [*opened]
    keys = [item.key for item in items]
    assert keys == sorted(keys, key=str.encode)
    assert len(keys) == 3 * 20 + 2 == opened.count()
    assert {item.split for item in items if item.key.startswith("train")} == {"train"}
    assert [item.key for item in collect(box, containers=True, include=["b.tar/cats/*"])] == [
        f"b.tar/{p.relative_to(photos)}" for p in photos_in(photos) if p.parent.name == "cats"
    ]


def test_webdataset_shard_has_labels_of_cls_and_json(photos: Path, box: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    images = [path.read_bytes() for path in photos_in(photos)[:3]]
    with webdataset.TarWriter(str(box / "shard.tar")) as out:
        out.write({"__key__": "000", "jpg": images[0], "cls": 7})
        out.write({"__key__": "001", "jpg": images[1], "json": {"label": "cat", "caption": "a cat"}})
        out.write({"__key__": "002", "jpg": images[2], "txt": "a dog"})
    found = [(item.key, item.label) for item in collect(box / "shard.tar")]
    assert found == [("shard.tar/000.jpg", "7"), ("shard.tar/001.jpg", "cat"), ("shard.tar/002.jpg", None)]
    captions = collect(box / "shard.tar", modality="text")
    (item,) = captions
    assert (item.key, captions.read(item, MOST)[0]) == ("shard.tar/002.txt", b"a dog")


def test_zip_of_debians_zip_is_read(photos: Path, box: Path) -> None:
    try:
        subprocess.run(["zip", "-qr", str(box / "x.zip"), "."], cwd=photos, check=True)
    except FileNotFoundError:
        pytest.skip("there is no zip here")
    listing = collect(box / "x.zip")
    assert [listing.read(item, MOST)[0] for item in listing] == [path.read_bytes() for path in photos_in(photos)]


def test_one_of_several_columns_of_pictures_is_named_and_stands_in_the_id(photos: Path, box: Path) -> None:
    left, right = ([p.read_bytes() for p in photos_in(photos)[i : i + 2]] for i in (0, 2))
    pq.write_table(pa.table({"left": left, "right": right, "kind": ["x", "y"]}), box / "two.parquet")
    with pytest.raises(InputError, match=r"several columns of pictures \(left, right\): name one as `column`"):
        collect(box / "two.parquet")
    columns = TextColumns("right", label="kind")
    listing = collect(box / "two.parquet", columns=columns)
    assert [(i.key, i.label) for i in listing] == [
        ("two.parquet/right/000000000", "x"),
        ("two.parquet/right/000000001", "y"),
    ]
    assert [read_place(str(box / item.key), MOST)[0] for item in listing] == right
    with pytest.raises(InputError, match=r"'kind' .* holds string, not bytes of pictures"):
        collect(box / "two.parquet", columns=TextColumns("kind"))


def test_a_tar_that_is_cut_short_gives_what_lies_before_the_cut_and_says_so_once(photos: Path, box: Path) -> None:
    whole = in_tar(photos, box / "a.tar").read_bytes()
    with tarfile.open(box / "a.tar") as tar:
        third, fourth = tar.getmembers()[2:4]
    for cut in (third.offset_data + third.size // 2, fourth.offset + 100, fourth.offset):
        (box / "cut.tar").write_bytes(whole[:cut])
        listing = collect(box / "cut.tar")
        assert len([*listing]) == (2 if cut < fourth.offset else 3)
        assert [*listing] == [*listing]
        assert len(listing.unreadable) == 1
        assert "is cut short" in listing.unreadable[0]
    (box / "cut.tar.gz").write_bytes(gzip.compress(whole)[: len(gzip.compress(whole)) // 2])
    listing = collect(box / "cut.tar.gz")
    assert 0 < len([*listing]) < 20
    assert len(listing.unreadable) == 1


def test_hostile_members_lead_nowhere(box: Path) -> None:
    link, hard, device = (tarfile.TarInfo(name) for name in ("link.jpg", "hard.jpg", "device.jpg"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "../secret.jpg"
    device.type = tarfile.CHRTYPE
    (box.parent / "secret.jpg").write_bytes(b"secret")
    path = tar_of(
        box / "a.tar",
        [("../secret.jpg", b"1"), ("/etc/x.jpg", b"2"), ("./d.jpg", b"3"), ("d.jpg", b"4"), ("a\\b.jpg", b"5")]
        + [(each, b"") for each in (link, hard, device)],
    )
    listing = collect(path)
    found = {}
    for item in listing:
        place = stored_path(str(box), item.key)
        assert place.startswith(f"{box}{os.sep}a.tar{os.sep}")
        try:
            found[item.key] = read_place(place, MOST)[0]
        except DecodeError as error:
            found[item.key] = error.code.encode()
    assert found == {
        r"a.tar/\x2e\x2e/secret.jpg": b"1",
        r"a.tar/\x2fetc/x.jpg": b"2",
        "a.tar/d.jpg": b"4",
        r"a.tar/a\\b.jpg": b"5",
        "a.tar/link.jpg": b"not_a_file",
        "a.tar/hard.jpg": b"not_a_file",
    }


def test_what_unpacks_to_a_hundred_times_its_size_is_refused(box: Path) -> None:
    with zipfile.ZipFile(box / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.jpg", bytes(1 << 24))
    (item,) = collect(box / "bomb.zip")
    with pytest.raises(DecodeError, match="over 100 times its size"):
        read_place(item.source, 1 << 30)
    with gzip.open(box / "bomb.tar.gz", "wb") as packed:
        packed.write(bytes(1 << 26))
    with pytest.raises(InputError, match="over 100 times its size"):
        collect(box / "bomb.tar.gz")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip", "x.parquet"])
@pytest.mark.parametrize("content", [b"", b"not at all", bytes(range(256)) * 9])
def test_what_is_no_container_is_refused_in_a_sentence(box: Path, name: str, content: bytes) -> None:
    (box / name).write_bytes(content)
    if name == "x.parquet":  # may be a table of texts: as a picture it is one file
        assert len([*collect(box / name)]) == 1
        return
    with pytest.raises(InputError, match=rf"{name} (is no|holds no)"):
        collect(box / name)
    assert [item.key for item in collect(box, containers=True)] == [name]


def test_an_encrypted_or_truncated_zip_is_refused_in_a_sentence(photos: Path, box: Path) -> None:
    whole = bytearray(in_zip(photos, box / "x.zip").read_bytes())
    (box / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is no zip, or is cut short"):
        collect(box / "cut.zip")
    at = 0
    while (at := whole.find(b"PK\1\2", at + 1)) > 0:
        whole[at + 8] |= 1
    (box / "locked.zip").write_bytes(whole)
    with pytest.raises(InputError, match=r"is encrypted: unpack it"):
        collect(box / "locked.zip")


def test_a_part_of_a_store_is_never_read_as_pictures(photos: Path, box: Path) -> None:
    path = in_parquet(photos, box / "part-000000.parquet")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"fxengine": "{}"}), path)
    assert [item.key for item in collect(box, containers=True)] == ["part-000000.parquet"]
