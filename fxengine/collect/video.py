"""A video: which frames it has, and their pixels, by PyAV. No other file imports it."""

from __future__ import annotations

import hashlib
import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from io import BufferedReader
from itertools import count
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from fxengine.collect.frames import KEYFRAMES, chosen
from fxengine.collect.item import stamp
from fxengine.collect.memory import require
from fxengine.collect.whole import is_cut_short
from fxengine.errors import DecodeError, InputError, reason
from fxengine.files import open_regular

_MOST_PIXELS = 1 << 26  # of a frame, whatever a run allows: twice 8K
# Those that are one file: a playlist would have FFmpeg open others, and addresses.
_OPTIONS = {
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg",
    "protocol_whitelist": "none",
    "max_pixels": str(_MOST_PIXELS),
}
_OPEN_TIMES = {"mpegts", "mpeg"}  # formats whose times begin anywhere
_COUNTED = "avi"  # whose packets have no times of their own, but an order
_READ = 1 << 20  # bytes at once
_MOST_FRAMES = 1 << 24
_LAST = 10**14  # milliseconds
_REORDERED = 32  # packets: B-frames come later by at most so many; what is later still goes backwards
_AGAIN = 16  # frames that are decoded rather than sought
_KEPT = 2  # frames
_CURSORS = 6  # at once, of all videos: one for every length of the seconds' number, as ids sort by it
_REOPENED = 10  # times that a video is read from its beginning to find a keyframe
_BACK = (0, 1, 10)  # seconds before a keyframe that it is sought from, where that fails

_cursors: OrderedDict[tuple[int, int], _Cursor] = OrderedDict()
_cursors_lock = threading.Lock()
_numbers = count()  # of the videos that were opened


class _Index(NamedTuple):
    """The frames of a video in the order of their times.

    Attributes:
        times: milliseconds, ascending, int64 [n].
        pts: as the stream counts, int64 [n].
        dts: of the packet, int64 [n].
        keys: whether it is a keyframe, bool [n].
    """

    times: np.ndarray
    pts: np.ndarray
    dts: np.ndarray
    keys: np.ndarray


class Video:
    """A video that is open. Memory takes some 30 bytes a frame, and that of a few decoders.

    Attributes:
        cut: what is missing in it, a sentence, or "".
        size: bytes of the file.
    """

    def __init__(self, path: Path) -> None:
        """Open it; raises InputError where it is no video or has none in it, and OSError."""
        self._path, self.cut = path, ""
        with open_regular(path, follow=True) as file:
            self.size = stamp(os.fstat(file.fileno()))[0]
            if is_cut_short(file):
                self.cut = f"{path} is cut short"
        cursor = _Cursor(path)
        self._edges = cursor.edges
        self._index, why = cursor.index(self.size)
        cursor.close()
        if not len(self._index.times):
            raise InputError(f"{path} holds no frame that can be read.")
        if why:
            self.cut = f"{path} {why}"
        self._wanted, self._rule = np.zeros(len(self._index.times), bool), ""
        self._lost = np.zeros(len(self._index.times), bool)  # what did not come out, and is not looked for again
        self._lock = threading.Lock()
        self._digest, self._number = "", next(_numbers)

    def __len__(self) -> int:
        return len(self._index.times)

    def times(self, rule: str) -> list[int]:
        """Return the milliseconds of the frames that a rule takes, ascending; raises InputError where it has none."""
        index = self._index
        taken = chosen(rule, index.times, index.keys)
        with self._lock:
            self._rule, self._wanted = rule, np.zeros(len(index.times), bool)
            self._wanted[taken] = True
        times: list[int] = index.times[taken].tolist()
        return times

    def has(self, time: int) -> bool:
        """Tell whether it has a frame at so many milliseconds."""
        return self._find(time) >= 0

    def read(self, time: int) -> np.ndarray:
        """Return the frame at so many milliseconds, upright, RGB, uint8 [height, width, 3]; any thread may ask.

        Raises:
            DecodeError: there is none, it is damaged, or takes more memory than is free.
        """
        if (at := self._find(time)) < 0:
            raise DecodeError("vanished", f"The video has no frame at {time / 1000:.3f} seconds (any more).")
        _check_size(*self._edges)
        with _explained():
            if self._index.keys[at] and self._rule in ("", KEYFRAMES):  # by itself, for each thread by its own decoder
                return _pixels(_cursor_of(self._path, self._number, -threading.get_ident()).keyframe(self._index, at))
            with self._lock:
                frame = self._decoded(at)
            return _pixels(frame)

    def digest(self) -> str:
        """Return the SHA-256 of the file, in hex; raises OSError."""
        with self._lock:
            if not self._digest:
                with open_regular(self._path, follow=True) as file:
                    self._digest = hashlib.file_digest(file, "sha256").hexdigest()
            return self._digest

    def _find(self, time: int) -> int:
        """Return the position of the frame at so many milliseconds, -1 where there is none."""
        at = int(np.searchsorted(self._index.times, time))
        return at if at < len(self._index.times) and self._index.times[at] == time else -1

    def _decoded(self, at: int) -> VideoFrame:
        """Return a frame, decoded from the last keyframe before it, or on from where a cursor is."""
        if self._lost[at]:
            raise _lost()
        index = self._index
        key = int(np.flatnonzero(index.keys[: at + 1])[-1]) if index.keys[: at + 1].any() else 0
        cursor = _cursor_of(self._path, self._number, len(str(index.times[at] // 1000)))
        if (kept := cursor.kept.pop(at, None)) is not None:
            return kept
        if not (cursor.at < at and at - cursor.at <= at - key + _AGAIN and cursor.begun):
            cursor.begin(index, key)
        before = cursor.at
        for passed, frame in cursor.frames(index):
            self._lost[before + 1 : passed] = True
            before = passed
            if passed == at:
                return frame
            if self._wanted[passed]:
                cursor.kept[passed] = frame
                while len(cursor.kept) > _KEPT:
                    cursor.kept.popitem(last=False)
            if passed > at:
                raise _lost()
        self._lost[before + 1 :] = True
        raise _lost()


class _Readable:
    """A file as PyAV reads it: where a damaged video has it seek before the beginning, it prints what is raised."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.read, self.tell, self.close = file.read, file.tell, file.close

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go there; below 0 where that cannot be."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


class _Cursor:
    """A decoder in a video, which goes forward.

    Attributes:
        at: position of the last frame that came out of it.
        begun: whether frames can come.
        is_counted: whether frames are told by their order and not by their times.
        kept: frames that were passed and that another reader asks for next, by their positions.
    """

    def __init__(self, path: Path) -> None:
        """Open it; raises InputError where it is no video or has none in it, and OSError."""
        self._path, self.at, self.begun = path, -1, False
        self._container, self._stream = self._opened()
        self._waiting: list[VideoFrame] = []
        self.kept: OrderedDict[int, VideoFrame] = OrderedDict()
        self._reopened = 0
        self.is_counted = _COUNTED in self._container.format.name.split(",")

    def close(self) -> None:
        """Give back what it takes; it is not used again."""
        self._container.close()

    @property
    def edges(self) -> tuple[int, int]:
        """Width and height in pixels, as they are coded."""
        return self._stream.codec_context.width, self._stream.codec_context.height

    def index(self, size: int) -> tuple[_Index, str]:
        """Return the frames in it, by its packets alone, and what is wrong with them, or "".

        Args:
            size: bytes of the file; packets that are longer together are no real ones.
        """
        pts, dts, keys, left, why = array("q"), array("q"), bytearray(), 16 * size + (1 << 24), ""
        try:
            for packet in self._container.demux(self._stream):
                time = self._time_of(packet)
                left -= packet.size
                if left < 0 or len(pts) >= _MOST_FRAMES:
                    why = "says that it holds more than it does"
                    break
                if time is not None and packet.size and not packet.is_discard:
                    pts.append(time)
                    dts.append(time if packet.dts is None else packet.dts)
                    keys.append(packet.is_keyframe)
        except (FFmpegError, OSError, IndexError) as error:  # the last where a stream begins in the middle
            why = f"is damaged: {_why(error)}"
        return self._sorted(np.array(pts), np.array(dts), np.array(keys, bool), why)

    def begin(self, index: _Index, key: int) -> None:
        """Go to a keyframe, a position in the index; raises DecodeError where it is not found again."""
        self._packets, self._next = self._from(index, key), key
        self.at, self.begun, self._waiting = key - 1, True, []

    def frames(self, index: _Index) -> Iterator[tuple[int, VideoFrame]]:
        """Yield frames with their positions from where it is; they are to be asked for one after the other."""
        while self._waiting or self._decode_next():
            frame = self._waiting.pop(0)
            if (at := self._position(index, frame)) > self.at:
                self.at = at
                yield at, frame
        self.begun = False

    def keyframe(self, index: _Index, at: int) -> VideoFrame:
        """Return a keyframe, of which nothing else is decoded; raises DecodeError where it does not come out."""
        self.begin(index, at)
        self.begun = False
        packet = next(self._packets)
        decoder = self._stream.codec_context
        frames: list[VideoFrame] = [*decoder.decode(packet), *decoder.decode(None)]
        decoder.flush_buffers()
        if not frames:
            raise DecodeError("corrupt", "The video is damaged here: this keyframe does not come out of its decoder.")
        return frames[0]

    def _opened(self) -> tuple[InputContainer, VideoStream]:
        try:
            # By a file object: FFmpeg itself opens nothing then.
            file = open_regular(self._path, follow=True)
            container = av.open(_Readable(file), "r", options=_OPTIONS, buffer_size=_READ, metadata_errors="replace")
        except (FFmpegError, ValueError) as error:
            raise InputError(f"{self._path} is no video that can be read: {_why(error)}.") from error
        for stream in container.streams.video:
            if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
                stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
                stream.codec_context.thread_count = 1  # several videos are decoded at once by several readers
                stream.codec_context.thread_type = "NONE"
                return container, stream
        raise InputError(f"{self._path} holds no video that can be decoded.")

    def _sorted(self, pts: np.ndarray, dts: np.ndarray, keys: np.ndarray, why: str) -> tuple[_Index, str]:
        """Return packets in the order of their times; those whose times go backwards are left out."""
        late = np.zeros(len(pts), bool)
        late[_REORDERED:] = pts[_REORDERED:] < np.maximum.accumulate(pts)[:-_REORDERED] if len(pts) else False
        if late.any() and not why:
            why = f"has {late.sum()} frames whose times go backwards, which are left out"
        kept = np.flatnonzero(~late)
        kept = kept[np.argsort(pts[kept], kind="stable")]
        start = self._stream.start_time if self._container.format.name in _OPEN_TIMES else 0
        ticks = pts[kept].astype(np.float64)
        ticks -= min([start or 0, *ticks[:1]])
        times = np.clip(np.rint(ticks * float(1000 * (self._stream.time_base or 1))), 0, _LAST).astype(np.int64)
        first = np.flatnonzero(np.diff(times, prepend=-1) > 0)  # of one millisecond
        kept = kept[first]
        return _Index(times[first], pts[kept], dts[kept], keys[kept]), why

    def _from(self, index: _Index, key: int) -> Iterator[Packet[VideoStream]]:
        """Yield packets from that of a keyframe on."""
        pts, dts, unit = int(index.pts[key]), int(index.dts[key]), self._stream.time_base or Fraction(1)
        # By its time, as formats with an index want it; others by that of its packet, and from before it.
        for to in (pts, *(int(min(pts, dts) - back / unit) for back in _BACK), None):
            if to is None:
                self._reopened += 1
                if self._reopened > _REOPENED:  # a hostile one would be read whole for every frame
                    break
                self._container, self._stream = self._opened()
            else:
                with suppress(FFmpegError):
                    self._container.seek(to, stream=self._stream)
            self._stream.codec_context.flush_buffers()
            packets = self._container.demux(self._stream)
            for packet in packets:
                if self._time_of(packet) == pts and packet.is_keyframe:
                    yield packet
                    yield from packets
                    return
                if packet.dts is not None and packet.dts > dts:
                    break
        raise DecodeError("corrupt", "The video is damaged here: its keyframe is not found again.")

    def _time_of(self, packet: Packet[VideoStream]) -> int | None:
        return packet.dts if self.is_counted or packet.pts is None else packet.pts

    def _decode_next(self) -> bool:
        """Decode packets until frames wait; tell whether there are some."""
        with suppress(FFmpegError):  # the file is damaged, or cut short: this is its end
            for packet in self._packets:
                with suppress(FFmpegError):  # a damaged packet costs the frames that need it
                    self._waiting += packet.decode()
                if self._waiting:
                    return True
        return False

    def _position(self, index: _Index, frame: VideoFrame) -> int:
        if self.is_counted:
            self._next += 1
            return self._next - 1
        pts = frame.dts if frame.pts is None else frame.pts
        at = int(np.searchsorted(index.pts, -1 if pts is None else pts))
        return at if at < len(index.pts) and index.pts[at] == pts else -1


def _cursor_of(path: Path, video: int, number: int) -> _Cursor:
    """Return a cursor of a video, by its number; the ones that were not asked for the longest are given up."""
    with _cursors_lock:
        cursor = _cursors.pop((video, number), None) or _Cursor(path)
        _cursors[video, number] = cursor
        while len(_cursors) > _CURSORS:
            _cursors.popitem(last=False)
        return cursor


def _pixels(frame: VideoFrame) -> np.ndarray:
    """Return a frame upright, RGB, uint8 [height, width, 3]; raises DecodeError where it is damaged or too large."""
    if frame.is_corrupt:
        raise DecodeError("corrupt", "The video is damaged here: its decoder says that this frame is.")
    _check_size(frame.width, frame.height)
    require(6 * frame.width * frame.height, "Decoding it")
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _check_size(width: int, height: int) -> None:
    if width * height > _MOST_PIXELS:
        raise DecodeError("too_large", f"{width} x {height} pixels: a frame has {_MOST_PIXELS >> 20} million at most.")


def _lost() -> DecodeError:
    return DecodeError("corrupt", "The video is damaged here: this frame does not come out of its decoder.")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what goes wrong while a frame is read into its reason."""
    try:
        yield
    except FileNotFoundError as error:
        raise DecodeError("vanished", "Its video is not there (any more).") from error
    except (FFmpegError, InputError, ValueError) as error:
        raise DecodeError("corrupt", f"The video is damaged here: {_why(error)}.") from error
    except OSError as error:
        raise DecodeError("io", f"Reading failed: {error.strerror or error}.") from error
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to decode it.") from error


def _why(error: BaseException) -> str:
    """Return in words what FFmpeg says, without the file, which it does not know."""
    return str(error.strerror).lower() if isinstance(error, FFmpegError) else reason(error)
