"""Frames of videos: which are inputs, what they are called, and their pixels, against PyAV's own decoding."""

from __future__ import annotations

import hashlib
import random
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fxengine.collect import Listing, collect, opened
from fxengine.collect.archive import ArchiveListing
from fxengine.collect.frames import check_rule, chosen, fragment, time_in
from fxengine.collect.item import sha256_of
from fxengine.collect.stored import is_there, read_place, stat_place, stored_path
from fxengine.errors import DecodeError, InputError
from tests.conftest import PATIENCE
from tests.places import in_zip, photos_in
from tests.videos import every, frames_of, video_of

pytest.importorskip("av")
MOST = 1 << 30
# Name -> degrees that a player turns it; of which the second has B-frames whose times AVI does not say.
FORMATS = {"a.mp4": 90, "a.avi": 0, "a.mkv": 0, "a.webm": 0, "a.ts": 0, "b.mp4": -90}


def box(tmp_path: Path) -> Path:
    """Return a folder beside that of the photos."""
    (tmp_path / "box").mkdir()
    return tmp_path / "box"


def seconds(keys: list[str]) -> list[float]:
    return [float(key.rpartition("=")[2]) for key in keys]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_frame_is_that_of_pyav_in_any_order(photos: Path, tmp_path: Path, name: str) -> None:
    path = video_of(photos, tmp_path / name, every(104), rotation=FORMATS[name])
    listing = collect(path, frames="every")
    items, expected = [*listing], [*frames_of(path).values()]
    keys = [item.key for item in items]
    assert keys == sorted(keys, key=str.encode)
    assert sorted(seconds(keys)) == every(104)
    assert expected[0].shape == ((96, 64, 3) if FORMATS[name] in (90, -90) else (64, 96, 3))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for item in items:
        pixels, read = listing.read(item, MOST)
        np.testing.assert_array_equal(pixels, expected[round(seconds([item.key])[0] * 10)])
        behind = item.key.removeprefix(name)
        assert read.content_hash == hashlib.sha256(f"{digest}{behind}".encode()).hexdigest()
        assert (
            (read.size, read.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns) == (item.size, item.mtime_ns)
        )
    opened._videos.clear()
    random.Random(0).shuffle(items)
    for item in items[:20]:
        place = stored_path(str(tmp_path), item.key)
        np.testing.assert_array_equal(read_place(place, MOST)[0], expected[round(seconds([item.key])[0] * 10)])
        assert stat_place(item.key, place) == item


@pytest.mark.parametrize("rule", ["keyframes", "1/s", "2.5/s", "every"])
def test_two_readers_get_what_one_does(photos: Path, tmp_path: Path, rule: str) -> None:
    path = video_of(photos, tmp_path / "a.mp4", every(60), gop=15)
    listing, expected = collect(path, frames=rule), frames_of(path)
    items = [*listing]
    turn = threading.Barrier(2)

    def read(half: int) -> list[np.ndarray]:
        found = []
        for item in items[half : len(items) // 2 * 2 : 2]:
            turn.wait(PATIENCE)
            found.append(np.asarray(listing.read(item, MOST)[0]))
        return found

    with ThreadPoolExecutor(2) as pool:
        halves = [*pool.map(read, range(2))]
    for half in range(2):
        for item, pixels in zip(items[half::2], halves[half], strict=False):
            np.testing.assert_array_equal(pixels, expected[round(seconds([item.key])[0] * 1000)])


def test_which_frames_a_rule_takes() -> None:
    times = np.array([0, 40, 80, 500, 1700, 1733, 2900, 3000, 9500, 10250])
    keys = np.array([1, 0, 0, 1, 1, 0, 1, 1, 1, 1], bool)
    taken = {rule: times[chosen(rule, times, keys)].tolist() for rule in ("keyframes", "1/s", "0.5/s", "2/s", "every")}
    assert taken == {
        "keyframes": [0, 1700, 2900, 9500],  # at least a second apart
        "1/s": [0, 1700, 2900, 3000, 9500, 10250],  # the first at or after each tick
        "0.5/s": [0, 2900, 9500, 10250],
        "2/s": [0, 500, 1700, 2900, 3000, 9500, 10250],
        "every": times.tolist(),
    }
    assert [fragment(time) for time in (0, 12480, 3_600_001)] == ["#t=0.000", "#t=12.480", "#t=3600.001"]
    assert [time_in(text) for text in ("12.480", "12.48", "7", "1e3", "-1", "٣", "")] == [12480, 12480, 7000] + [
        None
    ] * 4
    for wrong in ("", "all", "0/s", "1/m", "-1/s", "1e9/s"):
        with pytest.raises(InputError, match='`frames` must be "keyframes"'):
            check_rule(wrong)


def test_frames_of_a_variable_rate_have_their_times(photos: Path, tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.5, 1.7, 1.733, 2.9, 3.0, 3.001, 9.5, 10.25, 100.1, 101.5]
    path = video_of(photos, tmp_path / "a.mp4", times)
    listing, expected = collect(path, frames="every"), frames_of(path)
    items = [*listing]
    assert sorted(seconds([item.key for item in items])) == times
    for item in items:
        np.testing.assert_array_equal(listing.read(item, MOST)[0], expected[round(seconds([item.key])[0] * 1000)])
    assert [item.key for item in collect(path, frames="1/s")] == [
        f"a.mp4#t={time}" for time in ("0.000", "1.700", "10.250", "100.100", "101.500", "2.900", "3.000", "9.500")
    ]


def test_keyframes_are_the_usual_ones_and_are_read_alone(photos: Path, tmp_path: Path) -> None:
    path = video_of(photos, tmp_path / "a.webm", every(60), gop=7)
    listing, expected = collect(path), frames_of(path)
    keys = [item.key for item in listing]
    times = seconds(keys)
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))
    assert set(times) <= {0.7 * n for n in range(9)} | {round(0.7 * n, 1) for n in range(9)}
    for item in listing:
        np.testing.assert_array_equal(listing.read(item, MOST)[0], expected[round(seconds([item.key])[0] * 1000)])


def test_videos_in_a_folder_are_opened_where_that_is_asked_for(photos: Path, tmp_path: Path) -> None:
    folder = box(tmp_path)
    for label in ("cats", "dogs"):
        (folder / label).mkdir(parents=True)
        video_of(photos / label, folder / label / "a.mp4", every(12))
    for name in ("cats/a.mp4-x.jpg", "cats/a.mp4.jpg"):  # whose names sort beside those of frames
        (folder / name).write_bytes(photos_in(photos)[0].read_bytes())
    in_zip(photos, folder / "cats" / "a.zip")
    (folder / "dogs" / "text.mp4").write_text("no video")
    assert [item.key for item in collect(folder)] == [
        f"{name}"
        for name in ("cats/a.mp4", "cats/a.mp4-x.jpg", "cats/a.mp4.jpg", "cats/a.zip", "dogs/a.mp4", "dogs/text.mp4")
    ]
    listing = collect(folder, frames="1/s")
    assert [(item.key, item.label) for item in listing] == [
        ("cats/a.mp4#t=0.000", "cats"),
        ("cats/a.mp4#t=1.000", "cats"),
        ("cats/a.mp4-x.jpg", "cats"),
        ("cats/a.mp4.jpg", "cats"),
        ("cats/a.zip", "cats"),
        ("dogs/a.mp4#t=0.000", "dogs"),
        ("dogs/a.mp4#t=1.000", "dogs"),
        ("dogs/text.mp4", "dogs"),
    ]
    assert collect(folder, frames="1/s", containers=True).count() == 7 + 20
    assert [item.key for item in collect(folder, frames="1/s", include=["dogs/a.mp4"])] == [
        "dogs/a.mp4#t=0.000",
        "dogs/a.mp4#t=1.000",
    ]


def test_a_file_that_is_called_as_a_frame_is_that_file(photos: Path, tmp_path: Path) -> None:
    tmp_path = box(tmp_path)
    path = video_of(photos, tmp_path / "a.mp4", every(12))
    (tmp_path / "a.mp4#t=0.000").write_bytes(b"of its own")
    assert read_place(tmp_path / "a.mp4#t=0.000", MOST)[0] == b"of its own"
    listing = collect(tmp_path, frames="1/s")
    keys = [item.key for item in listing]
    assert keys == ["a.mp4#t=1.000"]  # it would be told of as a frame, and read as the file
    assert listing.unreadable == [f"{path}#t=0.000, which is both a file and a frame of the video beside it: rename it"]


def test_a_time_without_a_frame_is_no_place(photos: Path, tmp_path: Path) -> None:
    path = video_of(photos, tmp_path / "a.mp4", every(12))
    assert is_there(f"{path}#t=1.1")
    assert not is_there(f"{path}#t=1.15")
    with pytest.raises(DecodeError, match=r"no frame at 1\.150 seconds"):
        read_place(f"{path}#t=1.150", MOST)
    with pytest.raises(DecodeError, match="not there"):
        read_place(f"{tmp_path}/gone.mp4#t=1.150", MOST)


def read_all(listing: Listing) -> dict[str, np.ndarray | str]:
    """Return id -> pixels, or why there are none, in the order of the ids."""
    found: dict[str, np.ndarray | str] = {}
    for item in listing:
        try:
            found[item.key] = np.asarray(listing.read(item, MOST)[0])
        except DecodeError as error:
            found[item.key] = error.code
    return found


def cut(data: bytes) -> bytes:
    return data[: len(data) * 6 // 10]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv"])
def test_a_video_that_is_cut_short_gives_its_frames_up_to_there_and_says_so_once(
    photos: Path, tmp_path: Path, name: str
) -> None:
    whole = video_of(photos, tmp_path / name, every(60), options={"movflags": "faststart"} if name == "a.mp4" else None)
    expected = frames_of(whole)
    (tmp_path / f"cut{name}").write_bytes(cut(whole.read_bytes()))
    listing = collect(tmp_path / f"cut{name}", frames="every")
    items = sorted(listing, key=lambda item: seconds([item.key]))
    assert 15 < len(items) < 55
    assert seconds([item.key for item in items[:15]]) == every(15)  # at the cut, B-frames may be those that are missing
    assert listing.unreadable == [f"{tmp_path}/cut{name} is cut short"]
    found = {key: pixels for key, pixels in read_all(listing).items() if isinstance(pixels, np.ndarray)}
    assert len(found) >= len(items) - 4
    for key, pixels in [*found.items()][:-4]:
        np.testing.assert_array_equal(pixels, expected[round(seconds([key])[0] * 1000)])


def test_a_video_that_is_damaged_in_the_middle_goes_on_behind_it(photos: Path, tmp_path: Path) -> None:
    path = video_of(photos, tmp_path / "a.mkv", every(60))
    expected = [*frames_of(path).values()]
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 900] = bytes(900)
    path.write_bytes(data)
    found = {round(seconds([key])[0] * 10): pixels for key, pixels in read_all(collect(path, frames="every")).items()}
    fine = [at for at, pixels in found.items() if np.array_equal(pixels, expected[at])]
    assert 30 < len(fine) < 60
    assert {pixels for pixels in found.values() if isinstance(pixels, str)} == {"corrupt"}
    assert {0, 59} <= set(fine)


def times_going_backwards(data: bytes) -> bytes:
    """Give the clusters of a Matroska file, behind the third, the time of the first."""
    plain, at, number = bytearray(data), 0, 0
    while (at := plain.find(b"\x1f\x43\xb6\x75", at + 1)) > 0:
        time = plain.find(b"\xe7", at)
        number += 1
        if number > 3:
            width = plain[time + 1] & 0x7F
            plain[time + 2 : time + 2 + width] = bytes(width)
    return bytes(plain)


def test_times_that_go_backwards_are_told(photos: Path, tmp_path: Path) -> None:
    path = video_of(photos, tmp_path / "a.mkv", every(200), gop=10, options={"cluster_time_limit": "1500"})
    path.write_bytes(times_going_backwards(path.read_bytes()))
    listing = collect(path, frames="every")
    items = [*listing]
    assert 0 < len(items) < 200
    assert len(listing.unreadable) == 1
    assert "frames whose times go backwards, which are left out" in listing.unreadable[0]
    assert len({item.key for item in items}) == len(items)
    found = [*read_all(listing).values()]
    assert sum(isinstance(pixels, np.ndarray) for pixels in found) > 20
    assert {pixels for pixels in found if isinstance(pixels, str)} <= {"corrupt"}


def test_absurd_dimensions_are_refused_before_there_are_pixels(photos: Path, tmp_path: Path) -> None:
    path = video_of(photos, tmp_path / "a.webm", every(3))
    data = bytearray(path.read_bytes())
    at = data.find(b"\x9d\x01\x2a")  # of VP8's keyframe
    struct.pack_into("<HH", data, at + 3, 16383, 16383)
    path.write_bytes(data)
    listing = collect(path, frames="every")
    for item in listing:
        with pytest.raises(DecodeError) as caught:
            listing.read(item, MOST)
        assert caught.value.code in ("too_large", "corrupt")


def _audio(path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        for i in range(5):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, i * 1024
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


HOSTILE: dict[str, Callable[[Path, Path], object]] = {
    "is no video that can be read: invalid data": lambda path, photos: path.write_text("a text"),
    "is no video that can be read: invalid data ": lambda path, photos: path.write_bytes(b""),
    "is no video that can be read: ": lambda path, photos: path.write_bytes(photos_in(photos)[0].read_bytes()),
    "is no video that can be read: inv": lambda path, photos: path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n" + str(video_of(photos, path.parent / "b.ts", every(3)))
    ),
    "is no video that can be read: i": lambda path, photos: path.write_text(
        f"ffconcat version 1.0\nfile '{video_of(photos, path.parent / 'b.mp4', every(3))}'\n"
    ),
    "holds no video that can be decoded": lambda path, photos: _audio(path),
    "is no video that can be read: invalid d": lambda path, photos: path.write_bytes(
        cut(video_of(photos, path, every(20)).read_bytes())
    ),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_what_is_no_video_is_refused_in_a_sentence(photos: Path, tmp_path: Path, said: str) -> None:
    path = tmp_path / "x.mp4"
    HOSTILE[said](path, photos)
    with pytest.raises(InputError, match=rf"^{path} {said.strip()}"):
        collect(path)
    assert [item.key for item in collect(tmp_path, frames="every", include=["x.mp4"])] == ["x.mp4"]


def test_without_pyav_one_sentence_says_what_to_install(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path = box(tmp_path)
    path = video_of(photos, tmp_path / "a.mp4", every(12))
    monkeypatch.setattr(opened, "_VIDEO", ("fxengine.collect.not_there", "Video"))
    for source in (path, tmp_path):
        with pytest.raises(InputError, match=r"pip install 'fxengine\[video\]'"):
            collect(source, frames="every")
    assert opened.usual_frames(None, containers=True, boxed=False) is None
    assert [item.key for item in collect(tmp_path, containers=True)] == ["a.mp4"]


def test_frames_are_of_pictures_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("cats/01.jpg")
    for given, said in (
        ({"modality": "text"}, "takes texts"),
        ({"listing": tmp_path / "list.txt"}, "`listing` names files"),
        ({"boxes": tmp_path / "boxes.csv"}, "`boxes` lie in pictures"),
    ):
        with pytest.raises(InputError, match=said):
            collect(photos, frames="every", **given)


def test_a_listing_says_what_it_opens(photos: Path, tmp_path: Path) -> None:
    of_video = collect(video_of(photos, tmp_path / "a.mp4", every(3)))
    assert isinstance(of_video, ArchiveListing)
    assert (of_video.opens_archives, of_video.frames) == (False, "keyframes")
    of_zip = collect(in_zip(photos, tmp_path / "a.zip"))
    assert isinstance(of_zip, ArchiveListing)
    assert (of_zip.opens_archives, of_zip.frames) == (True, "")
    assert sha256_of(np.zeros((2, 2, 3), np.uint8)) == hashlib.sha256(bytes(12)).hexdigest()


def test_a_stream_without_an_end_has_one(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video_of(photos, tmp_path / "a.webm", every(60))
    monkeypatch.setattr("fxengine.collect.video._MOST_FRAMES", 20)
    listing = collect(path, frames="every")
    assert listing.count() == 20
    assert listing.unreadable == [f"{path} says that it holds more than it does"]
