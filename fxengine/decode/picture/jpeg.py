"""What a JPEG says outside its pixels: segments, turn, depth, and whether anything but its end marker is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from PIL import Image

_ORIENTATION = 0x0112
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_TURN = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_APP1, _SCAN, _END = 0xE1, 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # no length follows
# What may stand between two scans: tables, restart interval, number of lines, comments, application data.
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
# In a scan's data 0xff is followed by 0, by a restart marker, or by the marker that ends it.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff+")


def segments(data: bytes, start: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, first byte, past the last byte) of each segment from `start` up to the first scan's header."""
    position = start
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker == 0xFF:
            found = _FILL.match(data, position)
            position = (found.end() if found else len(data)) - 1
        elif marker in _ALONE:
            position += 2
        elif marker == _END:
            return
        else:
            stop = position + 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
            yield marker, position + 4, stop
            if marker == _SCAN:
                return
            position = stop


def orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, that EXIF or else XMP states, wherever it stands; 1 where neither does.

    As in Pillow, EXIF that is longer than a segment goes on in the next one.
    """
    exif, xmp = b"", b""
    for marker, start, stop in segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start):
            exif += data[start + (len(_EXIF) if exif else 0) : stop]
        elif marker == _APP1 and data.startswith(_XMP, start):
            xmp = data[start + len(_XMP) : stop]
    turn = _exif_turn(exif) if exif else None
    return _xmp_turn(xmp) if turn is None else turn


def _exif_turn(exif: bytes) -> int | None:
    """Return what EXIF states, 1 where that is no turn, None where it states nothing."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(_ORIENTATION)
    except Exception:  # whatever Pillow's arithmetic runs into on damaged tags: the pixels are whole
        return None
    return value if value is None or value in range(1, 9) else 1


def _xmp_turn(xmp: bytes) -> int:
    found = _XMP_TURN.search(xmp)
    return int(found[1]) if found else 1


def precision(data: bytes) -> int:
    """Return the bits of a sample, 8 where the file does not say."""
    return next((data[start] for marker, start, stop in segments(data) if marker in _FRAMES and stop <= len(data)), 8)


def is_progressive(data: bytes) -> bool:
    """Tell whether the picture comes in several scans, whose coefficients a decoder holds until the last."""
    return any(marker in _PROGRESSIVE for marker, _, _ in segments(data))


def scans(data: bytes) -> int:
    """Return in how many scans the picture comes: one where the first has all colours and all of their bits."""
    parts, progressive, first = 0, False, 0
    for marker, start, stop in segments(data):
        if marker in _FRAMES:
            parts, progressive = len(_parts(data[start:stop])), marker in _PROGRESSIVE
        elif marker == _SCAN and start < len(data):
            first = data[start]
    return data.count(bytes([0xFF, _SCAN])) if progressive or first < parts else 1


def ended(data: bytes) -> bytes | None:
    """Return a file without an end marker as one that has it, behind its last scan; what came there is left out.

    None where there is no scan, or where scans are missing: of a colour, or of those that refine a progressive file to
    its last bit. Whether the last scan itself is whole, its decoder finds.
    """
    missing = set[tuple[int, int]]()
    position, end = 2, 0
    while position < len(data):
        scan = None
        for marker, start, stop in segments(data, position):
            if marker in _FRAMES:
                coefficients = 64 if marker in _PROGRESSIVE else 1
                missing = {(part, k) for part in _parts(data[start:stop]) for k in range(coefficients)}
            elif marker == _SCAN:
                scan = start, stop
        if scan is None:
            break
        missing -= _refined(data[slice(*scan)])
        found = _MARKER.search(data, scan[1])
        end = position = found.start() if found else len(data)
        if found and data[end + 1] not in _BETWEEN_SCANS:
            break
    if not end or missing:
        return None
    return data[:end] + bytes([0xFF, _END])


def _parts(frame: bytes) -> list[int]:
    """Return the numbers of the colour components that a frame header lists."""
    return list(frame[6::3][: frame[5]]) if len(frame) > 5 else []


def _refined(scan: bytes) -> set[tuple[int, int]]:
    """Return (component, coefficient) that a scan header says are exact after it."""
    count = scan[0] if scan else 0
    if len(scan) < 4 + 2 * count or scan[3 + 2 * count] & 15:
        return set()
    first, last = scan[1 + 2 * count], scan[2 + 2 * count]
    return {(part, k) for part in scan[1 : 1 + 2 * count : 2] for k in range(first, last + 1)}
